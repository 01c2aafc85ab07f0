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

    def read(self, values: Sequence[bytes | None]) -> list[Part]:
        """What the known layouts accept of these values. All else is for Pydantic."""
        if not self._known or len(values) < MESSAGES_MIN:
            return []
        fitting, sizes, positions = _short(values)
        parts = []
        for place, chunk in chunks(fitting, sizes):
            parts += self._read_chunk(chunk, positions[place])
        return parts

    def learn(self, message: bytes) -> None:
        """Remembers the layout of a message that Pydantic has accepted, if it has one that is not known."""
        layout = learn(message, self._rules, with_extra=self._with_extra)
        if layout is None or any(known.pieces.texts == layout.pieces.texts for known in self._known):
            return
        self._known = [*self._known[-(LAYOUTS_MAX - 1) :], layout]

    def _read_chunk(self, chunk: Chunk, positions: Indices) -> list[Part]:
        parts = []
        is_open = np.ones(len(positions), np.bool_)
        is_open[chunk.not_utf8()] = False
        for layout in reversed(self._known):
            fits = chunk.mark_counts == layout.pieces.mark_count
            fits &= chunk.control_counts == layout.pieces.control_count
            rows = np.flatnonzero(is_open & fits)
            found = layout.read(chunk, rows) if len(rows) else None
            if found is None or not len(found.rows):
                continue
            is_open[found.rows] = False
            parts.append(Part(positions[found.rows], found.columns, found.extra))
            self._touch(layout)
            if not is_open.any():
                break
        return parts

    def _touch(self, layout: Layout) -> None:
        if self._known[-1] is not layout:
            self._known = [*(known for known in self._known if known is not layout), layout]


def _short(values: Sequence[bytes | None]) -> tuple[Sequence[bytes], npt.NDArray[np.int64], Indices]:
    """The values that are not null and not too long, their sizes, and their positions."""
    try:
        sizes = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
    except TypeError:
        sizes = np.array([VALUE_BYTES_MAX + 1 if value is None else len(value) for value in values], np.int64)
    if sizes.max(initial=0) <= VALUE_BYTES_MAX:
        return values, sizes, np.arange(len(values))  # type: ignore[return-value]
    positions = np.flatnonzero(sizes <= VALUE_BYTES_MAX)
    return [values[at] for at in positions.tolist()], sizes[positions], positions  # type: ignore[misc]
