"""Bounds and marks of values laid end to end."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from neptune_flow.validation.chunk import Chunk


def chunk_of(values: list[bytes]) -> Chunk:
    return Chunk(values, np.array([len(value) for value in values], np.int64))


def marks_of(text: bytes) -> list[int]:
    """The quotation marks before which an even number of backslashes stands."""
    return [found.end() - 1 for found in re.finditer(rb'(?<!\\)(?:\\\\)*"', text)]


@pytest.mark.parametrize("seed", range(20))
def test_a_mark_is_a_quotation_mark_that_no_backslash_escapes(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    values = [bytes(rng.choices(b'\\\\\\"" x', k=rng.randrange(12))) for _ in range(200)]
    chunk = chunk_of(values)
    assert chunk.marks.tolist() == marks_of(b"".join(values))
    ends = chunk.ends.tolist()
    for start, end, first, count in zip(chunk.starts, ends, chunk.first_mark, chunk.mark_counts, strict=True):
        assert all(start <= at < end for at in chunk.marks[first : first + count])
    assert chunk.mark_counts.sum() == len(chunk.marks)


def test_control_characters_are_counted_for_each_value() -> None:
    assert chunk_of([b"a\n\tb", b"", b"x\x7f \x80", b"\x00\x1f"]).control_counts.tolist() == [2, 0, 0, 2]
