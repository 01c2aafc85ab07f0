"""A failing message made small: among copies of one neighbour, with ever more of its bytes taken out (delta debugging)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from neptune_flow.validation.layouts import MESSAGES_MIN
from tests.fuzz.judging import Judging
from tests.fuzz.messages import FuzzedMessage
from tests.fuzz.subjects import Subject

NEIGHBOURS_MAX = 250
"""Messages of the batch that are tried as the one from which the validator learns the failing one's layout."""


class Case(NamedTuple):
    """A message that fails after, and among, copies of its neighbour."""

    message: FuzzedMessage
    neighbour: FuzzedMessage


def shortest(whole: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """The shortest part found for which `fails` still holds, by leaving out ever smaller stretches."""
    size = len(whole) // 2
    while size:
        at = 0
        while at < len(whole):
            less = whole[:at] + whole[at + size :]
            if fails(less):
                whole = less
            else:
                at += size
        size //= 2
    return whole


def smallest_case(
    subject: Subject, now: datetime, suspects: Sequence[FuzzedMessage], neighbours: Sequence[FuzzedMessage]
) -> Case | None:
    """The first of the suspects that fails among copies of one neighbour too, made short; None where none does."""

    def fails(case: Case) -> bool:
        judging = Judging(subject, now)
        judging.wrong([case.neighbour])
        return bool(judging.wrong([case.message, *[case.neighbour] * MESSAGES_MIN]))

    for message in suspects:
        for neighbour in (message, *neighbours[:NEIGHBOURS_MAX]):
            case = Case(message, neighbour)
            if message.value is not None and not fails(Case(neighbour, neighbour)) and fails(case):
                value = shortest(message.value, lambda value, case=case: fails(_with(case, value)))  # type: ignore[misc]
                return _with(case, value)
    return None


def _with(case: Case, value: bytes) -> Case:
    return case._replace(message=case.message._replace(value=value))
