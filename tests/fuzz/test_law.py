"""The verdict on fuzzed messages, without a server: each is the row or the reject that Pydantic and the documented rules make of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from neptune_flow.validation import chunk, layout, parsing
from neptune_flow.validation.chunk import Chunk
from tests.fuzz.judging import Judging
from tests.fuzz.messages import BLOCK_MESSAGES, FuzzedMessage, block_of
from tests.fuzz.shrink import shortest, smallest_case
from tests.fuzz.subjects import DELIVERY, SUBJECTS, Subject

MESSAGES = int(os.environ.get("NEPTUNE_TEST_FUZZED", "20000"))
"""Of each contract."""
BATCH_MESSAGES = 250
"""Enough for the fast way, and few enough for layouts to be learnt within a block."""
SEED = int(os.environ.get("NEPTUNE_TEST_SEED", "11"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)

Failure = tuple[list[FuzzedMessage], list[FuzzedMessage]]
"""The messages that are not judged as expected, and their batch."""


def first_failure(subject: Subject, messages: int) -> Failure | None:
    """Judges fuzzed messages until some are not judged as expected."""
    judging = Judging(subject, NOW)
    for number in range(messages // BLOCK_MESSAGES):
        block = block_of(SEED, subject, number)
        for at in range(0, BLOCK_MESSAGES, BATCH_MESSAGES):
            batch = block[at : at + BATCH_MESSAGES]
            if wrong := judging.wrong(batch):
                return wrong, batch
    return None


@pytest.mark.parametrize("name", SUBJECTS)
def test_each_fuzzed_message_is_the_row_or_the_reject_that_is_expected(name: str) -> None:
    print(f"seed {SEED}, {MESSAGES} messages")
    failure = first_failure(SUBJECTS[name], MESSAGES)
    if failure is not None:
        case = smallest_case(SUBJECTS[name], NOW, *failure)
        pytest.fail(f"seed {SEED}: judged otherwise than expected: {case or failure[0][:3]}")


def _accept_every_byte(texts: parsing.Strings) -> np.ndarray:
    return np.ones(len(texts.array), np.bool_)


def _accept_every_text(texts: parsing.Strings) -> tuple[pa.Array, np.ndarray]:
    return texts.array, _accept_every_byte(texts)


HOLES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a negative zero is not looked for": lambda p: p.setattr(layout, "_NEGATIVE_ZERO", 1),
    "control characters are not looked for": lambda p: p.setattr(chunk, "SPACE", 0),
    "escapes are not looked for": lambda p: p.setattr(layout, "without_escapes", _accept_every_text),
    "the form of an unknown value is not looked at": lambda p: p.setattr(layout, "are_bare", _accept_every_byte),
    "the form of a number is not looked at": lambda p: p.setattr(layout, "are_numbers", _accept_every_byte),
    "the shape of a time is not looked at": lambda p: p.setattr(parsing, "_have_shapes", _accept_every_byte),
    "bytes that are not UTF-8 are not looked for": lambda p: p.setattr(
        Chunk, "not_utf8", lambda _: np.empty(0, np.intp)
    ),
    "a value that is too long is parsed": lambda p: p.setattr(
        "neptune_flow.validation.one_by_one.KIND_TOO_LARGE", "too_large"
    ),
}


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_in_the_verdict_is_found(hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    HOLES[hole](monkeypatch)
    assert first_failure(DELIVERY, 200_000) is not None


def test_a_failing_message_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    HOLES["control characters are not looked for"](monkeypatch)
    failure = first_failure(DELIVERY, 200_000)
    assert failure is not None
    case = smallest_case(DELIVERY, NOW, *failure)
    assert case is not None
    assert case.message.value is not None
    assert len(case.message.value) <= 500


def test_what_is_left_of_a_text_is_what_makes_it_fail() -> None:
    assert shortest(b"abcXdefghYi", lambda text: b"X" in text and b"Y" in text) == b"XY"


def test_a_block_can_be_had_again_and_another_seed_gives_another() -> None:
    assert block_of(SEED, DELIVERY, 3, 50) == block_of(SEED, DELIVERY, 3, 50)
    assert block_of(SEED, DELIVERY, 3, 50) != block_of(SEED + 1, DELIVERY, 3, 50)
