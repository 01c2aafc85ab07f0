"""Rows that wait for a commit: a bounded tail in memory, the rest in data files that no snapshot names yet.

A spool belongs to one table and either to one Kafka partition (in `collect`) or to one commit (in `sink`). All spools of a
worker share one SpoolBudget: when their tails together pass its limit, the largest day of the largest spool becomes a data file.
So memory does not grow with the window's length, the rate or the number of partitions, and files stay as large as memory allows.

A file takes about its size again while it is made. Where the process has no room for that, the allocators first give back what they hold free.

A data file never spans two days. Nothing here decides when to commit, and nothing deletes a file.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import pyarrow as pa

from neptune_flow.records import DataFile, DayBatch, Pile
from neptune_flow.vitals import memory_bytes

WRITERS_MAX = 4
"""Files of different days are written side by side: one after another, a producer with a broken clock would stop the flow by waiting. Each
writer takes some 10 MiB beside what it writes."""

WRITTEN_TOGETHER_BYTES_MAX = 2 << 20
"""A day of more is written alone: a file takes about its size again, and as much in dictionaries, while it is made."""

PART_BYTES_MIN = 256 << 10
"""A smaller part of the tail is put together with its neighbours."""

SMALL_PARTS_MAX = 16
"""So many small parts one after another become one: a batch whose rows are of many days would hold more in the frames of its columns than in them."""

FRAME_BYTES = 32 << 10
"""What one batch takes beside its buffers, measured over both tables' columns."""

ROOM_BYTES = 64 << 20
"""So much below what the process should take, memory that the allocators hold free goes back to the system: between what stays they keep 50 to 130 MiB of messages that have
passed."""

GIVE_BACK_INTERVAL_BYTES = 16 << 20
"""But not again before rows of so many bytes have come: it takes 5 to 15 ms, and as much again when the memory is wanted back."""


class WritesFiles(Protocol):
    """A table's storage, as a spool sees it; may be called from several threads."""

    def write_file(self, batches: Sequence[pa.RecordBatch], day: int) -> DataFile:
        """Write one data file whose rows are all of `day` (days since 1970-01-01)."""


def split_by_day(batch: pa.RecordBatch, day_column: str) -> list[DayBatch]:
    """The batch in parts of one day each, rows in their order; a batch of a single day is passed on as it is."""
    if batch.num_rows == 0:
        return []
    days = batch.column(day_column).cast(pa.int32()).to_numpy()
    first = int(days[0])
    if (days == first).all():
        return [DayBatch(first, batch)]
    return [DayBatch(int(day), batch.filter(pa.array(days == day))) for day in np.unique(days)]


class Spool:
    """Rows of one table on their way to one commit; not thread-safe, it lives on one worker."""

    def __init__(self, table: WritesFiles, day_column: str, budget: SpoolBudget) -> None:
        self._table = table
        self._day_column = day_column
        self._budget = budget
        self._files: list[DataFile] = []
        self._tails: dict[int, list[pa.RecordBatch]] = {}
        self._tail_bytes: dict[int, int] = {}
        self._small_parts: dict[int, int] = {}
        """Per day, how many parts at the end of its tail are small."""
        budget.join(self)

    @property
    def tail_bytes(self) -> int:
        return sum(self._tail_bytes.values())

    @property
    def largest_day_bytes(self) -> int:
        return max(self._tail_bytes.values(), default=0)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows of any days; may write data files to keep the worker's budget."""
        for part in split_by_day(batch, self._day_column):
            self._hold(part)
        self._budget.keep()

    def add_pile(self, pile: Pile) -> None:
        """Take what another spool has gathered."""
        self._files.extend(pile.files)
        for part in pile.tail:
            self._hold(part)
        self._budget.keep()

    def flush_largest_day(self) -> None:
        """Turn the day with the most bytes into a data file."""
        self._flush(max(self._tail_bytes, key=self._tail_bytes.__getitem__))

    def flush_days_over(self, bytes_max: int) -> None:
        """Turn each day of more bytes into a data file; the others stay in the tail."""
        for day in sorted(day for day, held in self._tail_bytes.items() if held > bytes_max):
            self._flush(day)

    def flush(self) -> None:
        """Turn the whole tail into data files, one for each day."""
        self.flush_days_over(WRITTEN_TOGETHER_BYTES_MAX)
        small = sorted(self._tails)
        if not small:
            return
        self._budget.make_room(self.tail_bytes)
        with ThreadPoolExecutor(min(WRITERS_MAX, len(small))) as writers:
            self._files += writers.map(lambda day: self._table.write_file(self._tails[day], day), small)
        for day in small:
            self._drop(day)

    def pile(self) -> Pile:
        """What is held now, as a value that later changes do not touch."""
        tail = (DayBatch(day, batch) for day, batches in sorted(self._tails.items()) for batch in batches)
        return Pile(tuple(self._files), tuple(tail))

    def take(self) -> Pile:
        """What is held now; afterwards the spool is empty."""
        pile = self.pile()
        self._files.clear()
        for day in list(self._tails):
            self._drop(day)
        return pile

    def _hold(self, part: DayBatch) -> None:
        self._tails.setdefault(part.day, []).append(part.batch)
        self._count(part.day, _bytes_of(part.batch))
        is_small = part.batch.get_total_buffer_size() < PART_BYTES_MIN
        self._small_parts[part.day] = self._small_parts.get(part.day, 0) + 1 if is_small else 0
        if self._small_parts[part.day] == SMALL_PARTS_MAX:
            self._put_together(part.day)

    def _put_together(self, day: int) -> None:
        """The small parts at the end of a day's tail become one."""
        parts = self._tails[day]
        small = parts[-SMALL_PARTS_MAX:]
        whole = pa.concat_batches(small)
        parts[-SMALL_PARTS_MAX:] = [whole]
        self._count(day, _bytes_of(whole) - sum(map(_bytes_of, small)))
        self._small_parts[day] = int(whole.get_total_buffer_size() < PART_BYTES_MIN)

    def _count(self, day: int, more_bytes: int) -> None:
        self._tail_bytes[day] = self._tail_bytes.get(day, 0) + more_bytes
        self._budget.count(more_bytes)

    def _flush(self, day: int) -> None:
        self._budget.make_room(self._tail_bytes[day])
        self._files.append(self._table.write_file(self._tails[day], day))
        self._drop(day)

    def _drop(self, day: int) -> None:
        del self._tails[day], self._small_parts[day]
        self._budget.count(-self._tail_bytes.pop(day))


def _bytes_of(batch: pa.RecordBatch) -> int:
    """What a batch takes in memory."""
    size: int = batch.get_total_buffer_size()
    return size + FRAME_BYTES


class SpoolBudget:
    """The bytes that the tails of all spools of one worker may hold together."""

    def __init__(self, bytes_max: int, memory_bytes_max: float = math.inf) -> None:
        """`memory_bytes_max` is what the whole process should stay below; nothing is given back without one."""
        self.bytes_max = bytes_max
        self.memory_bytes_max = memory_bytes_max
        self.held_bytes = 0
        self._come_bytes = 0
        self._spools: list[Spool] = []

    def join(self, spool: Spool) -> None:
        """Count a spool's tail from now on."""
        self._spools.append(spool)

    def count(self, more_bytes: int) -> None:
        """A tail has grown by so many bytes, or shrunk."""
        self.held_bytes += more_bytes
        self._come_bytes += max(more_bytes, 0)

    def keep(self) -> None:
        """Write data files until the limit holds."""
        self.make_room(ROOM_BYTES)
        while self.held_bytes > self.bytes_max:
            max(self._spools, key=lambda s: s.largest_day_bytes).flush_largest_day()

    def make_room(self, wanted_bytes: int) -> None:
        """Free memory goes back to the system, if the process could not take so many bytes more."""
        if self._come_bytes < GIVE_BACK_INTERVAL_BYTES or (memory_bytes() or 0) + wanted_bytes <= self.memory_bytes_max:
            return
        self._come_bytes = 0
        pa.default_memory_pool().release_unused()
        if _malloc_trim is not None:
            _malloc_trim(0)


_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's alone."""
