"""Sets of offsets are what sets of integers are, and their ranges say the same as they do."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neptune_flow.verify.offsets import RANGES_MAX, OffsetSet, Ranges, between, bitmap, ranges_of, span

FAR = 1 << 40
offsets = st.lists(
    st.integers(0, 40) | st.integers(FAR, FAR + 200) | st.sampled_from([2**16 - 1, 2**16, 2**32 - 1, 2**63 - 1])
)


@given(st.lists(offsets, max_size=5))
def test_what_is_held_and_what_is_held_twice_is_what_counting_says(batches: list[list[int]]) -> None:
    whole, count = OffsetSet(), Counter[int]()
    for number, batch in enumerate(batches):
        part = whole if number % 2 else OffsetSet()
        part.add(np.array(batch, dtype=np.int64))
        if part is not whole:
            whole.merge(part)
        count.update(batch)
    assert set(whole.held) == set(count)
    assert set(whole.twins) == {offset for offset, times in count.items() if times > 1}
    assert whole.count == count.total()


@given(offsets, st.integers(0, 40), st.integers(0, 40))
def test_ranges_are_the_set_and_do_not_touch(batch: list[int], first: int, length: int) -> None:
    found = bitmap(np.array(batch, dtype=np.int64)) | span(first, first + length)
    ranges = list(ranges_of(found))
    assert [o for begin, end in ranges for o in range(begin, end)] == sorted(found)
    assert all(one[1] < other[0] for one, other in pairwise(ranges))


@given(offsets, st.integers(-5, 60), st.integers(-5, 60))
def test_between_takes_both_ends_as_ranges_do(batch: list[int], first: int, next: int) -> None:
    found = bitmap(np.array(batch, dtype=np.int64))
    assert set(between(found, first, next)) == {o for o in batch if first <= o < next}


def test_a_run_ends_at_a_hole_that_begins_where_the_bitmaps_containers_meet() -> None:
    assert list(ranges_of(span(60_000, 1 << 16) | span(1 << 20, (1 << 20) + 1))) == [
        (60_000, 65_536),
        (1 << 20, (1 << 20) + 1),
    ]


def test_a_range_of_a_thousand_million_offsets_is_one_range() -> None:
    assert list(ranges_of(span(7, 10**9))) == [(7, 10**9)]


def test_so_many_ranges_are_named_and_the_rest_counted() -> None:
    found = bitmap(np.arange(0, 4 * RANGES_MAX, 2))
    ranges = Ranges.of(found)
    assert (ranges.offsets, len(ranges.shown), ranges.has_more) == (2 * RANGES_MAX, RANGES_MAX, True)
    assert Ranges.of(span(3, 5)) == Ranges(2, ((3, 5),), False)
