"""The layouts that a topic's producers use, as they are found, and the messages that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neptune_flow.validation.chunk import Chunk, Indices, chunks
from neptune_flow.validation.layout import Layout
from neptune_flow.validation.learning import learn
from neptune_flow.validation.rules import Rule

LAYOUTS_MAX = 8
"""Layouts kept: each one looks at the messages that no other took. A topic has a few producers; the one longest unused gives way."""
MESSAGES_MIN = 100
"""Fewer messages than this are judged sooner one by one: reading columns has a fixed cost."""
VALUE_BYTES_MAX = 1 << 16
"""A longer value is judged alone, so that it does not carry its neighbours out of the processor's cache."""


class Part(NamedTuple):
    """Accepted messages: their places in the message batch, ascending, and their columns."""

    positions: Indices
    columns: list[pa.Array]
    extra: pa.Array | None


class Layouts:
    """The fast way for contracts that have flat rules."""

    def __init__(self, rules: Mapping[str, tuple[str, Rule]], *, with_extra: bool = True) -> None:
        self._rules = rules
        self._with_extra = with_extra
        self._known: list[Layout] = []
        """The one used last stands last."""

    def read(self, values: Sequence[bytes | None], latest_us: int) -> list[Part]:
        """What the known layouts accept of these values, with an event time of at most `latest_us`. All else is for Pydantic."""
        if not self._known or len(values) < MESSAGES_MIN:
            return []
        return [part for start, chunk in chunks(*_short(values)) for part in self._read_chunk(chunk, start, latest_us)]

    def learn(self, message: bytes) -> None:
        """Remembers the layout of a message that Pydantic has accepted, if it has one that is not known."""
        layout = learn(message, self._rules, with_extra=self._with_extra)
        if layout is None or any(known.pieces.texts == layout.pieces.texts for known in self._known):
            return
        self._known = [*self._known[-(LAYOUTS_MAX - 1) :], layout]

    def _read_chunk(self, chunk: Chunk, start: int, latest_us: int) -> list[Part]:
        """`start` is the position of the chunk's first message."""
        parts = []
        is_open = np.ones(len(chunk.values), np.bool_)
        is_open[chunk.not_utf8()] = False
        for layout in reversed(self._known):
            fits = chunk.mark_counts == layout.pieces.mark_count
            fits &= chunk.control_counts == layout.pieces.control_count
            rows = np.flatnonzero(is_open & fits)
            found = layout.read(chunk, rows, latest_us) if len(rows) else None
            if found is None or not len(found.rows):
                continue
            is_open[found.rows] = False
            parts.append(Part(start + found.rows, found.columns, found.extra))
            self._touch(layout)
            if not is_open.any():
                break
        return parts

    def _touch(self, layout: Layout) -> None:
        if self._known[-1] is not layout:
            self._known = [*(known for known in self._known if known is not layout), layout]


def _short(values: Sequence[bytes | None]) -> tuple[Sequence[bytes], npt.NDArray[np.int64]]:
    """The values and their sizes, with an empty one, which no layout has, in the place of each that is null or too long."""
    try:
        sizes = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
    except TypeError:
        return _short([value or b"" for value in values])
    if sizes.max(initial=0) > VALUE_BYTES_MAX:
        return _short([value if len(value) <= VALUE_BYTES_MAX else b"" for value in values])  # type: ignore[arg-type]
    return values, sizes  # type: ignore[return-value]
