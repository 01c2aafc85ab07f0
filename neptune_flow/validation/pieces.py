"""Where the pieces and the contents of a layout lie in the messages of a chunk: steps 1 and 2 of the argument in `layout`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neptune_flow.validation.chunk import SPACE, Chunk, Indices

Mask = npt.NDArray[np.bool_]


class Pieces:
    """The constant texts of a layout. Between two of them stands the content of a cell; all but the last hold a mark, and none a backslash."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.texts = tuple(texts)
        self.control_count = sum(byte < SPACE for text in texts for byte in text)
        marks_through = np.cumsum([text.count(b'"') for text in texts])
        self.mark_count = int(marks_through[-1])
        self._windows = [(text, np.dtype(f"V{len(text)}")) for text in texts]
        # A content begins so many bytes after one of the message's marks, and ends so many before another; the last
        # one may instead end so many bytes before the message does, where the last piece has no mark.
        self._has_tail = b'"' not in texts[-1]
        closing = texts[1:-1] if self._has_tail else texts[1:]
        self._begin_marks = (marks_through[:-1] - 1)[:, None]
        self._begin_shifts = np.array([len(text) - text.rindex(b'"') for text in texts[:-1]])[:, None]
        self._end_marks = marks_through[: len(closing)][:, None]
        self._end_shifts = np.array([text.index(b'"') for text in closing], np.intp)[:, None]

    def locate(
        self, chunk: Chunk, rows: Indices, sizes_min: Indices, sizes_max: Indices
    ) -> tuple[Indices, Indices, Indices]:
        """Those of the rows, all with `mark_count` marks, whose text is pieces and contents of these sizes in turn.

        With them the bounds of the contents in the chunk's bytes, one line per cell.
        """
        begins, ends = self._bounds(chunk, rows)
        sizes = ends - begins
        good = ((sizes >= sizes_min) & (sizes <= sizes_max)).all(axis=0)
        if not good.all():
            rows, begins, ends = rows[good], begins.compress(good, axis=1), ends.compress(good, axis=1)
        good = ends[-1] + len(self.texts[-1]) == chunk.ends[rows]
        for (text, window), at in zip(self._windows, (chunk.starts[rows], *ends), strict=True):
            _mark_unlike(chunk, text, window, at, good)
        if not good.all():
            rows, begins, ends = rows[good], begins.compress(good, axis=1), ends.compress(good, axis=1)
        return rows, begins, ends

    def _bounds(self, chunk: Chunk, rows: Indices) -> tuple[Indices, Indices]:
        first = chunk.first_mark[rows]
        begins = chunk.marks[first + self._begin_marks] + self._begin_shifts
        ends = chunk.marks[first + self._end_marks] - self._end_shifts
        if self._has_tail:
            ends = np.concatenate((ends, (chunk.ends[rows] - len(self.texts[-1]))[None, :]))
        return begins, ends


class Contents:
    """The contents of all cells as one string array over the chunk's bytes, copied only when taken.

    Its elements are, row by row, the content of a cell and what follows it up to the next content, in turn.
    """

    def __init__(self, chunk: Chunk, begins: Indices, ends: Indices) -> None:
        self._stride, rows = 2 * begins.shape[0], begins.shape[1]
        offsets = np.empty(self._stride * rows + 1, np.int32)
        by_row = offsets[:-1].reshape(rows, self._stride)
        by_row[:, 0::2] = begins.T
        by_row[:, 1::2] = ends.T
        offsets[-1] = ends[-1, -1]
        self.rows = np.arange(rows)
        """Which rows are taken."""
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(chunk.text)]
        self._array = pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)

    def only(self, good: Mask) -> None:
        """What is taken from now on is of these rows alone."""
        self.rows = self.rows[good]

    def take(self, places: Sequence[int]) -> pa.Array:
        """The contents of these cells, cell after cell, compact."""
        indices = 2 * np.array(places, np.intp)[:, None] + self._stride * self.rows
        return self._array.take(pa.array(indices.ravel()))


def _mark_unlike(chunk: Chunk, piece: bytes, window: np.dtype[np.void], at: Indices, good: Mask) -> None:
    """Clears `good` where the chunk's bytes at `at` are not `piece`."""
    every = np.ndarray(len(chunk.text) - len(piece) + 1, window, buffer=chunk.text, strides=(1,))
    found = every[at]
    if found.tobytes() != piece * len(at):
        good &= (found.view(np.uint8).reshape(-1, len(piece)) == np.frombuffer(piece, np.uint8)).all(axis=1)
