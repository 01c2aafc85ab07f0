"""A refused message as text, with the places marked that the reasons name. Pure: bytes and reasons in, lines out.

JSON is laid out one member a line, numbers as they were written. A reason's field is a path, as in `stops.2.lat`; its line is marked, and a field
that is missing is told where it should be. Of what is no JSON the place is pointed at that the parser names. Other bytes are shown escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

LINES_MAX = 400
"""Lines of one message that are shown; `--raw` gives all of it."""
WIDTH = 76
"""Characters around a place in what is no JSON."""
_DEPTH_MAX = 100
_PLACE = re.compile(r"line (\d+) column (\d+)")


class Line(NamedTuple):
    """One line, and what is wrong with it."""

    text: str
    mark: str = ""


class _Raw(str):
    """A number, as it was written."""


class _Members(list[tuple[str, object]]):
    """An object's members in their order, names that come twice among them."""


def show_value(value: bytes | None, reasons: Sequence[Mapping[str, str | None]]) -> list[Line]:
    """The value of a message, line by line.

    Args:
        reasons: `field`, `kind` and `message` of each.
    """
    if value is None:
        return [Line("null", _marks(reasons).get("", ""))]
    try:
        document = json.loads(value, object_pairs_hook=_Members, parse_int=_Raw, parse_float=_Raw, parse_constant=_Raw)
        lines = [Line(printable(line.text), line.mark) for line in _lines(document, "", "", _marks(reasons), 0)]
    except (ValueError, RecursionError):
        return list(_unparsed(value, reasons))
    return lines[:LINES_MAX] + ([Line(f"… {len(lines) - LINES_MAX:,} lines more")] if lines[LINES_MAX:] else [])


def _marks(reasons: Sequence[Mapping[str, str | None]]) -> dict[str, str]:
    """What is wrong at each path; the whole message is the empty one."""
    marks: dict[str, str] = {}
    for reason in reasons:
        path = reason["field"] or ""
        said = f"{reason['kind']}: {reason['message']}"
        marks[path] = f"{marks[path]}; {said}" if path in marks else said
    return marks


def _lines(value: object, path: str, begin: str, marks: Mapping[str, str], depth: int) -> Iterator[Line]:
    """The value behind `begin` (indentation and name), marked where its path is."""
    indent = "  " * (depth + 1)
    mark = marks.get(path, "")
    if depth > _DEPTH_MAX:
        raise RecursionError
    if isinstance(value, _Members):
        yield Line(f"{begin}{{", mark)
        for name, inner in value:
            yield from _lines(
                inner, _join(path, name), f"{indent}{json.dumps(name, ensure_ascii=False)}: ", marks, depth + 1
            )
        names = {name for name, _ in value}
        for missing, said in marks.items():
            parent, _, name = missing.rpartition(".")
            if missing and parent == path and name not in names and said.startswith("missing"):
                yield Line(f"{indent}{json.dumps(name, ensure_ascii=False)}  is not there", said)
        yield Line("  " * depth + "}")
    elif isinstance(value, list):
        yield Line(f"{begin}[", mark)
        for number, inner in enumerate(value):
            yield from _lines(inner, _join(path, str(number)), indent, marks, depth + 1)
        yield Line("  " * depth + "]")
    else:
        text = str(value) if isinstance(value, _Raw) else json.dumps(value, ensure_ascii=False)
        yield Line(begin + text, mark)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _unparsed(value: bytes, reasons: Sequence[Mapping[str, str | None]]) -> Iterator[Line]:
    """Lines of what is no JSON, with a pointer at the place that a reason names."""
    place = next((m for r in reasons if (m := _PLACE.search(r["message"] or ""))), None)
    said = "; ".join(f"{r['kind']}: {r['message']}" for r in reasons)
    lines = value.split(b"\n")
    number, column = (int(place[1]) - 1, max(int(place[2]) - 1, 0)) if place else (0, 0)
    if not place or number >= len(lines):
        shown = _escaped(value[: WIDTH * 20])
        yield Line(shown + ("…" if len(value) > WIDTH * 20 else ""), said)
        return
    line = lines[number]
    first = max(0, column - WIDTH // 2)
    before, after = _escaped(line[first:column]), _escaped(line[column : first + WIDTH])
    left = "…" if first or number else ""
    yield Line(f"{left}{before}{after}" + ("…" if len(line) > first + WIDTH or number + 1 < len(lines) else ""))
    yield Line(" " * len(left + before) + "^", said)


def _escaped(content: bytes) -> str:
    return printable(content.decode(errors="backslashreplace"))


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or colour it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
