"""From a message that the contract accepts to its layout. What a layout is, and why it may be trusted, is told in `layout`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from neptune_flow.validation.chunk import PADDING_BYTES
from neptune_flow.validation.layout import Cell, Layout, Unknown
from neptune_flow.validation.leaves import BARE
from neptune_flow.validation.rules import Number, Rule

CELLS_MAX = 256
"""Cells of a layout; a message with more is read by Pydantic."""
DEPTH_MAX = 100
"""Nesting of a layout: with that of a bare value added, less than the 200 which Pydantic's parser takes."""

_SPACES = rb"[ \t\n\r]*"
_TOKEN = re.compile(
    rb'"(?P<key>[^"\\\x00-\x1f]*)"%b:%b'
    rb'|"(?P<text>[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*)"'
    rb"|(?P<bare>%b)|(?P<open>[{\[])|(?P<close>[\]}])|[ \t\n\r,]+" % (_SPACES, _SPACES, BARE.encode())
)
"""What a message is made of; a key with an escape is not."""


@dataclass(slots=True)
class _Member:
    """A member of the message: its key, the bounds of its value, and the cells in it."""

    key: str
    start: int
    stop: int = 0
    cells: list[tuple[int, int, bool]] = field(default_factory=list)
    """The bounds of each content, and whether it is a text's."""


def learn(message: bytes, rules: Mapping[str, tuple[str, Rule]], *, with_extra: bool = True) -> Layout | None:
    """The layout of a message that the contract accepts; None where it has none.

    Without `with_extra` the layout reads no `_extra`. It has none with an escape in a key, with a key twice, with numbers side by side among strings or lines, with an
    empty list over several lines, or where it is larger than the limits.
    """
    members = _members(message)
    by_key = dict(rules.values())
    keys = {member.key for member in members}
    if len(keys) < len(members) or not by_key.keys() <= keys or not all(member.cells for member in members):
        return None
    cells: list[Cell] = []
    unknown: list[Unknown] = []
    places: dict[str, int] = {}
    bounds = [0]
    for member in members:
        rule = by_key.get(member.key)
        places[member.key] = len(cells)
        if rule is None:
            unknown += [_unknown(member, len(cells))] if with_extra else []
        elif [is_text for *_, is_text in member.cells] != [not isinstance(rule, Number)]:
            return None
        for begin, end, is_text in member.cells:
            cells.append(Cell(rule, is_text))
            bounds += [begin, end]
    bounds.append(len(message))
    pieces = tuple(message[begin:end] for begin, end in zip(bounds[::2], bounds[1::2], strict=True))
    if max(map(len, pieces)) > PADDING_BYTES or not all(b'"' in piece for piece in pieces[:-1]):
        return None
    return Layout(pieces, cells, unknown, [places[key] for key, _ in rules.values()])


def _members(message: bytes) -> list[_Member]:
    """The members of the message, which is one JSON object; none where it has no layout."""
    members: list[_Member] = []
    at = depth = cells = 0
    while at < len(message):
        token = _TOKEN.match(message, at)
        if token is None or cells > CELLS_MAX or depth > DEPTH_MAX:
            return []
        at = token.end()
        match token.lastgroup:
            case None:
                continue
            case "key":
                if depth == 1:
                    members.append(_Member(token["key"].decode(), at))
                continue
            case "open":
                depth += 1
            case "close":
                depth -= 1
            case _ if not members:
                return []
            case "text" | "bare" as kind:
                cells += 1
                members[-1].cells.append((*token.span(kind), kind == "text"))
        if depth == 1 and members:
            members[-1].stop = at
    return members


def _unknown(member: _Member, first: int) -> Unknown:
    """Where its value lies; `first` is the number of its first cell."""
    lead, tail = member.cells[0][0] - member.start, member.stop - member.cells[-1][1]
    return Unknown(member.key, first, lead, first + len(member.cells) - 1, tail)
