"""Sets of offsets, small enough for a whole table: what is held, what is held twice, what is missing. Pure.

A Roaring bitmap keeps a long run of offsets in a few bytes and never needs more than a bit and a little for each offset of its range: the
dense offsets of a Kafka partition are what it is made for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

RANGES_MAX = 1000
"""A fault names so many ranges and counts the rest."""

Range = tuple[int, int]
"""`[first, next)`."""


class OffsetSet:
    """The offsets that a table holds of one Kafka partition, and those that it holds more than once."""

    __slots__ = ("count", "held", "twins")

    def __init__(self) -> None:
        self.count = 0
        """Offsets that were added, each as often as it was."""
        self.held = BitMap64()
        self.twins = BitMap64()

    def add(self, offsets: npt.NDArray[np.int64]) -> None:
        """Take in offsets, in any order; none may be negative."""
        fresh = bitmap(offsets)
        if len(fresh) < len(offsets):
            values, times = np.unique(offsets, return_counts=True)
            self.twins |= bitmap(values[times > 1])
        self._take(fresh, len(offsets))

    def merge(self, other: OffsetSet) -> None:
        """Take in all of another set of the same partition."""
        self.twins |= other.twins
        self._take(other.held, other.count)

    def joined(self, other: OffsetSet) -> OffsetSet:
        """Both sets as a new one."""
        both = OffsetSet()
        both.merge(self)
        both.merge(other)
        return both

    def below(self, end: int) -> OffsetSet:
        """What is below an offset, as a new set. Its count may be too high: what is above counts once each."""
        part = OffsetSet()
        part.held, part.twins = between(self.held, 0, end), between(self.twins, 0, end)
        part.count = self.count - (len(self.held) - len(part.held))
        return part

    def between(self, first: int, next: int) -> int:
        """How many different offsets lie in `[first, next)`."""
        count: int = self.held.range_cardinality(first, max(first, next))
        return count

    @property
    def least(self) -> int | None:
        return self.held.min() if self.held else None

    @property
    def next(self) -> int | None:
        """One above the greatest."""
        return self.held.max() + 1 if self.held else None

    def _take(self, fresh: BitMap64, count: int) -> None:
        fresh.run_optimize()
        self.twins |= self.held & fresh
        self.held |= fresh
        self.count += count


class Ranges(NamedTuple):
    """Some of the ranges of a set, and how many offsets it has in all."""

    offsets: int
    shown: tuple[Range, ...] = ()
    has_more: bool = False

    @staticmethod
    def of(offsets: BitMap64) -> Ranges:
        """The first RANGES_MAX ranges."""
        found = tuple(islice(ranges_of(offsets), RANGES_MAX + 1))
        return Ranges(len(offsets), found[:RANGES_MAX], len(found) > RANGES_MAX)


def bitmap(offsets: npt.NDArray[np.int64]) -> BitMap64:
    """The set of these offsets."""
    return BitMap64(array("Q", offsets.tobytes()))


def span(first: int, next: int) -> BitMap64:
    """All offsets in `[first, next)`."""
    offsets = BitMap64()
    offsets.add_range(max(first, 0), max(next, 0))
    return offsets


def between(offsets: BitMap64, first: int, next: int) -> BitMap64:
    """Those of the offsets that lie in `[first, next)`."""
    inside = span(first, next)
    inside &= offsets
    return inside


def ranges_of(offsets: BitMap64) -> Iterator[Range]:
    """The set as ascending ranges that do not touch. Costs by the range, not by the offset."""
    next = 0
    last = offsets.max() if offsets else -1
    while next <= last:
        first = offsets.next_set_bit(next)
        next = _end_of_run(offsets, first)
        yield first, next


def _end_of_run(offsets: BitMap64, first: int) -> int:
    """The first offset above `first` that is not in the set: leaps that double, then halve."""
    if first + 1 not in offsets:
        return first + 1
    leap = 1
    while _holds_all(offsets, first, first + 2 * leap):
        leap *= 2
    end = first + leap
    while leap:
        if _holds_all(offsets, end, end + leap):
            end += leap
        leap //= 2
    return end


def _holds_all(offsets: BitMap64, first: int, next: int) -> bool:
    """By counting: `contains_range` says yes of a range that runs into a hole at a multiple of 65,536."""
    return offsets.range_cardinality(first, next) == next - first
