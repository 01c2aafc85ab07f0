"""Message values laid end to end, as the fast way reads them: bytes, bounds, and the places of all marks.

A *mark* is a quotation mark that no backslash escapes: an even number of backslashes stands right before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Indices = npt.NDArray[np.intp]

SPACE = 0x20
"""The least byte that may stand in a JSON string as it is."""
_BACKSLASH = ord("\\")
CHUNK_MESSAGES_MAX = 4096
"""Messages per chunk: columns have a fixed cost, about that of a thousand messages, which this many share."""
CHUNK_BYTES_MAX = 2 << 20
"""Bytes per chunk, so that what is derived of it stays in the processor's last cache; a single value may exceed it."""
PADDING_BYTES = 1024
"""Zeros after the last value, so that a window of this size may begin at any byte of any value."""


class Chunk:
    """`values` joined; the arrays have one element per value."""

    def __init__(self, values: Sequence[bytes], sizes: npt.NDArray[np.int64]) -> None:
        self.values = values
        self.text = b"".join([*values, bytes(PADDING_BYTES)])
        self.bytes = np.frombuffer(self.text, np.uint8)
        self.ends: Indices = np.cumsum(sizes, dtype=np.intp)
        self.starts: Indices = self.ends - sizes
        self.has_backslash = b"\\" in self.text
        self.marks: Indices = np.flatnonzero(self.bytes == ord('"'))
        if self.has_backslash:
            self.marks = self.marks[~_are_escaped(self.bytes, self.marks)]
        self.first_mark, self.mark_counts = self._shares(self.marks)
        whole = self.bytes[: self.ends[-1]]
        controls = np.flatnonzero(whole < SPACE) if whole.min(initial=SPACE) < SPACE else self.marks[:0]
        _, self.control_counts = self._shares(controls)
        """Of bytes below 0x20."""

    def _shares(self, places: Indices) -> tuple[Indices, Indices]:
        """Of ascending places of bytes, those of each value: the first one's number, and how many they are."""
        bounds = np.searchsorted(places, self.ends)
        first = np.concatenate(([0], bounds[:-1]))
        return first, bounds - first

    def not_utf8(self) -> list[int]:
        """The values that are not UTF-8."""
        if self.text.isascii() or self._is_utf8():
            return []
        return [row for row, value in enumerate(self.values) if not value.isascii() and not _is_utf8(value)]

    def _is_utf8(self) -> bool:
        """By Arrow, which makes no string of it: memory for one of this size would have to be had and given back for each chunk."""
        bounds = pa.py_buffer(np.array([0, len(self.text)], np.int32))
        try:
            pa.Array.from_buffers(pa.string(), 1, [None, bounds, pa.py_buffer(self.text)]).validate(full=True)
        except pa.ArrowInvalid:
            return False
        return True


def chunks(values: Sequence[bytes], sizes: npt.NDArray[np.int64]) -> Iterator[tuple[int, Chunk]]:
    """`values` in chunks of about the same number, each with the place of its first value."""
    totals = np.cumsum(sizes)
    parts = -(-len(values) // CHUNK_MESSAGES_MAX)
    share = -(-len(values) // parts) if parts else 0
    start = 0
    while start < len(values):
        before = totals[start] - sizes[start]
        by_bytes = int(np.searchsorted(totals, before + CHUNK_BYTES_MAX, side="right"))
        stop = min(start + share, max(by_bytes, start + 1), len(values))
        yield start, Chunk(values[start:stop], sizes[start:stop])
        start = stop


def _are_escaped(text: npt.NDArray[np.uint8], at: Indices) -> npt.NDArray[np.bool_]:
    """Which of these bytes, none of them a backslash, stand after an odd number of backslashes in a row."""
    escaped: npt.NDArray[np.bool_] = text[at - 1] == _BACKSLASH
    if escaped.any():
        backslashes = np.flatnonzero(text == _BACKSLASH)
        firsts = np.maximum.accumulate(np.where(np.diff(backslashes, prepend=-2) > 1, backslashes, 0))
        last = np.searchsorted(backslashes, at[escaped]) - 1
        escaped[escaped] = (backslashes - firsts)[last] % 2 == 0
    return escaped


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
