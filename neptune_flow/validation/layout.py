"""A faster way to the same verdict, for producers that write every message alike.

Almost all messages of a topic are written by the same few programs: the same keys, in the same order, with the same
spacing. Such a form is a *layout*: constant pieces of text, and between them the cells, whose content alone differs.

    {"device_id":"·····","start_lat":·····,"start_lon":·····,"battery":{"level":·····,"unit":"·····"}}
    └── piece 0 ─┘     └── piece 1 ─┘     └─ piece 2 ─┘     └───── piece 3 ────┘     └piece 4┘     └ piece 5

A layout is learned from a message that Pydantic has accepted, and read from other messages by columns, without a step
per message. Members that the contract does not name may have any shape; where their objects and lists are the same,
only the leaves are cells.

**The law** (design.md §6): the fast way says yes only where Pydantic does, with the same value. What it is not sure
of goes to Pydantic.

**The argument.** `learn` cuts an accepted message, so one JSON object, at strings that are no keys and at *bare* values
(`leaves`: values without a quotation mark, such as numbers). Let another message be exactly piece 0, content 0, piece
1, …, the last piece, where the whole is UTF-8 and
 (a) the content of a text cell is that of a JSON string;
 (b) the content of a number cell is `-?(0|[1-9][0-9]*)([.][0-9]+)?`;
 (c) the content of a bare cell is a bare value.

Then it is the learned message with values in the place of values, so it is one JSON object with the same keys, those
of the object itself each once (`learn` takes no others), and each with a value of the cell's JSON type. It is nested
no deeper than Pydantic's parser can follow (`DEPTH_MAX`, `BARE_DEPTH_MAX`), and has no integer that is too long for it.
A layout has all keys of the contract, which are all required, so Pydantic sees these values and no others, and what is
left are the rules of each field (`rules`), which are the whole of what the model does (see there). The other keys are
unknown to the contract: they change no verdict, since a model that forbids them accepts no message to learn from.
Their values are copied as they are written, from where they begin to where they end.

How the parts are established, each for all messages of a chunk at once:
 1. A message has as many marks (`chunk`) as the layout. The places of its marks give the bounds of each content.
 2. Each piece stands where the content before it ends (the first one where the message begins, the last one where it
    ends). A piece holds no backslash, so the quotation marks inside it are the message's next marks in order, and the
    content after it begins where it ends. The content of a text cell lies between two neighbouring marks: each quotation mark
    in it is escaped, and what its last backslash escapes is in it too. A number's or a bare content lies between two
    pieces. Backslashes at the end of the message before, which lies next to this one in the chunk, could only hide a
    mark that is this message's first byte; but the first piece begins with white space or `{`.
 3. Number cells: no byte outside `-./0-9`; a digit, or a minus and a digit, in front; no zero before another digit; a
    digit at the end; and Arrow parses the whole as a number, so that in between are digits with at most one point.
    Not longer than NUMBER_BYTES_MAX. A float of more than 2^53 goes to Pydantic (which reads an integer as an
    integer), and so does a negative zero (the integer `-0` is 0.0, the float `-0.0` is not). Between them Arrow and
    Pydantic both round to the nearest double.
 4. Instants: the content, with every digit made a zero, is one of the shapes in `_SHAPES`. Then Arrow's cast and
    Pydantic agree on which are times, and on the value. What leaves the years 1 to 9999 in UTC goes to Pydantic, and so
    does an event time that lies too far ahead.
 5. Text cells: a message has as many control characters as the pieces, so its contents hold none. A content without a
    backslash is then its own value. One with a backslash is (a) where Pydantic's parser reads it between quotation
    marks, and has the value that it reads (`leaves`). Then the lengths.
 6. Cells of members that the contract does not name: (a) as in step 5, (c) as in `leaves`.

The layouts that are known change how fast a verdict is found, and never which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neptune_flow.validation.chunk import Chunk, Indices
from neptune_flow.validation.extra import member
from neptune_flow.validation.leaves import BARE_BYTES_MAX, are_bare, without_escapes
from neptune_flow.validation.parsing import (
    INSTANT_BYTES_MAX,
    INSTANT_BYTES_MIN,
    Strings,
    are_numbers,
    array,
    instants,
    parse_numbers,
    times_us,
)
from neptune_flow.validation.pieces import Contents, Mask, Pieces
from neptune_flow.validation.rules import Instant, Number, Rule, Text

NUMBER_BYTES_MAX = 24
"""The longest a double is written by common programs; a longer one is read by Pydantic."""
INTEGER_BYTES_MAX = 18
"""Every integer of so many characters fits 64 bits."""
CONTENT_BYTES_MAX = 1 << 20
"""More than a chunk's share: what is longer is read by Pydantic."""
EXACT_MAX = float(2**53)
"""Up to here every integer is a double, so it does not matter whether a number is read as one or the other."""
_NEGATIVE_ZERO = np.iinfo(np.int64).min
"""The bits of -0.0, as an integer."""


class Cell(NamedTuple):
    """A place in a layout: what the field has to obey (None in a member unknown to the contract), and whether it is text."""

    rule: Rule | None
    is_text: bool


class Unknown(NamedTuple):
    """A member unknown to the contract: its value begins `lead` bytes before the content of one cell, and ends `tail` bytes after that of another."""

    key: str
    first: int
    lead: int
    last: int
    tail: int


class Read(NamedTuple):
    """Messages that the fast way accepts: their places in the chunk, and their columns in the order of the contract's fields."""

    rows: Indices
    columns: list[pa.Array]
    extra: pa.Array | None
    """`_extra`; None where the layout has no unknown key."""


class Layout:
    """Reads the messages of one layout. `order` lists the contract's keys in the order of its fields."""

    def __init__(
        self, pieces: Sequence[bytes], cells: Sequence[Cell], unknown: Sequence[Unknown], order: Sequence[int]
    ) -> None:
        self.pieces = Pieces(pieces)
        self._cells = cells
        self._order = order
        self._sizes_min = np.array([_sizes(cell)[0] for cell in cells])[:, None]
        self._sizes_max = np.array([_sizes(cell)[1] for cell in cells])[:, None]
        floats = [p for p, cell in enumerate(cells) if isinstance(cell.rule, Number) and not cell.rule.integer]
        integers = [p for p, cell in enumerate(cells) if isinstance(cell.rule, Number) and cell.rule.integer]
        self._numbers = floats + integers
        self._instants = [p for p, cell in enumerate(cells) if isinstance(cell.rule, Instant)]
        (self._event_time,) = (p for p in self._instants if cells[p].rule == Instant(is_event_time=True))
        self._texts = [p for p, cell in enumerate(cells) if isinstance(cell.rule, Text)]
        self._bare = [p for p, cell in enumerate(cells) if cell.rule is None and not cell.is_text]
        self._unknown_texts = [p for p, cell in enumerate(cells) if cell.rule is None and cell.is_text]
        self._floats, self._integers = (
            [rule for p in places if isinstance(rule := cells[p].rule, Number)] for places in (floats, integers)
        )
        self._least = np.array([max(rule.least, -EXACT_MAX) for rule in self._floats])[:, None]
        self._most = np.array([min(rule.most, EXACT_MAX) for rule in self._floats])[:, None]
        self._unknown = unknown
        self._firsts, self._lasts = [one.first for one in unknown], [one.last for one in unknown]
        self._leads = np.array([one.lead for one in unknown], np.intp)[:, None]
        self._tails = np.array([one.tail for one in unknown], np.intp)[:, None]

    def read(self, chunk: Chunk, rows: Indices, latest_us: int) -> Read | None:
        """Those of the chunk's `rows` that have this layout, obey the rules and happened by `latest_us`; None where there are none.

        All of `rows` have as many marks and control characters as the pieces, and none is known not to be UTF-8.
        """
        rows, begins, ends = self.pieces.locate(chunk, rows, self._sizes_min, self._sizes_max)
        if not len(rows):
            return None
        contents = Contents(chunk, begins, ends)
        good = self._are_meant(chunk, contents, len(rows))
        columns = self._read_numbers_and_instants(contents, good)
        good &= times_us(columns[self._event_time]) <= latest_us
        if not good.all():
            rows, columns = rows[good], _only(columns, good)
            if not len(rows):
                return None
            contents.only(good)
            good = np.ones(len(rows), np.bool_)
        columns |= self._read_texts(chunk, contents, good)
        if not good.all():
            rows, columns = rows[good], _only(columns, good)
            contents.only(good)
        extra = self._extra(chunk, begins[:, contents.rows], ends[:, contents.rows]) if self._unknown else None
        return Read(rows, [columns[place] for place in self._order], extra)

    def _are_meant(self, chunk: Chunk, contents: Contents, count: int) -> Mask:
        """Step 6."""
        good = np.ones(count, np.bool_)
        if self._bare:
            good &= are_bare(Strings(contents.take(self._bare))).reshape(-1, count).all(axis=0)
        if self._unknown_texts and chunk.has_backslash:
            _, meant = without_escapes(Strings(contents.take(self._unknown_texts)))
            good &= meant.reshape(-1, count).all(axis=0)
        return good

    def _read_numbers_and_instants(self, contents: Contents, good: Mask) -> dict[int, pa.Array]:
        """Steps 3 and 4: the column of each of these cells. Clears `good` where a content is not meant, or breaks its rule."""
        count, numbers = len(good), len(self._numbers)
        texts = Strings(contents.take(self._numbers + self._instants))
        columns = self._read_numbers(texts.part(0, numbers * count), good) if numbers else {}
        for number, place in enumerate(self._instants, numbers):
            columns[place], are_instants = instants(texts.part(number * count, (number + 1) * count))
            good &= are_instants
        return columns

    def _read_numbers(self, numbers: Strings, good: Mask) -> dict[int, pa.Array]:
        """Step 3."""
        shape = len(self._numbers), len(good)
        meant = are_numbers(numbers)
        values = parse_numbers(numbers, meant, pa.float64()).reshape(shape)
        meant = meant.reshape(shape)
        floats = values[: len(self._floats)]
        bits = floats.view(np.int64)
        meant[: len(floats)] &= (floats >= self._least) & (floats <= self._most) & (bits != _NEGATIVE_ZERO)
        columns = {p: array(pa.float64(), column) for p, column in zip(self._numbers, floats, strict=False)}
        for number, rule in enumerate(self._integers, len(floats)):
            part = numbers.part(number * len(good), (number + 1) * len(good))
            integers = parse_numbers(part, meant[number], pa.int64())
            meant[number] &= (integers >= rule.least) & (integers <= rule.most)
            columns[self._numbers[number]] = array(pa.int64(), integers)
        good &= meant.all(axis=0)
        return columns

    def _read_texts(self, chunk: Chunk, contents: Contents, good: Mask) -> dict[int, pa.Array]:
        """Step 5, as `_read_numbers_and_instants`."""
        columns = {}
        for place in self._texts:
            # Each by itself, since they stay: the allocator keeps a third more than it is asked for beside one large buffer.
            columns[place] = contents.take([place])
            if chunk.has_backslash:
                columns[place], are_meant = without_escapes(Strings(columns[place]))
                good &= are_meant
            rule = self._cells[place].rule
            if isinstance(rule, Text) and (rule.length_min > 1 or rule.length_max is not None):
                lengths = pc.utf8_length(columns[place]).to_numpy()
                good &= (lengths >= rule.length_min) & (lengths <= (rule.length_max or CONTENT_BYTES_MAX))
        return columns

    def _extra(self, chunk: Chunk, begins: Indices, ends: Indices) -> pa.Array | None:
        """`_extra` as `extra.Extra` writes it."""
        if not begins.shape[1]:
            return None
        values = Contents(chunk, begins[self._firsts] - self._leads, ends[self._lasts] + self._tails)
        parts: list[Any] = []
        for place, unknown in enumerate(self._unknown):
            parts += [("," if parts else "{") + member(unknown.key, ""), values.take([place])]
        return pc.binary_join_element_wise(*parts, "}", "")


def _sizes(cell: Cell) -> tuple[int, int]:
    """The least and the most bytes that a content may have for the steps that follow."""
    match cell.rule:
        case Instant():
            return INSTANT_BYTES_MIN, INSTANT_BYTES_MAX
        case Text(length_min):
            return min(length_min, 1), CONTENT_BYTES_MAX
        case Number(integer=True):
            return 1, INTEGER_BYTES_MAX
    if cell.rule is None:
        return (0, CONTENT_BYTES_MAX) if cell.is_text else (1, BARE_BYTES_MAX)
    return 1, NUMBER_BYTES_MAX


def _only(columns: dict[int, pa.Array], good: Mask) -> dict[int, pa.Array]:
    """The columns of the rows that are left: Arrow filters a batch in half the time of its columns one by one."""
    batch = pa.RecordBatch.from_arrays([*columns.values()], names=[*map(str, columns)])
    return dict(zip(columns, batch.filter(pa.array(good)).columns, strict=True))
