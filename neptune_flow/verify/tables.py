"""Reads a table from its first data file to its last, and keeps of it only what a judgement needs: a Tally.

Each file is read in a thread of its own, a few ahead of the one that is added up; a file becomes sets of offsets while it is read, so what
waits is small. An outage of the storage is waited out file by file.

A file that is gone may have been there when its snapshot was current: another program compacted the table and removed what no snapshot names
any more. So before it is called lost, the table is loaded anew; where it has moved on and names the file no longer, all begins again
(`TableMoved`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from neptune_flow.iceberg import TableReader
from neptune_flow.iceberg.audit import Audit, AuditFile, BrokenFile, Days, open_audit
from neptune_flow.ledger import Ledger
from neptune_flow.patience import Patience
from neptune_flow.verify.offsets import OffsetSet
from neptune_flow.vitals import STORAGE

T = TypeVar("T")

THREADS = 4
"""Files under reading at once: hides the storage's answer times; more would only wait for the processor."""

AHEAD = 2 * THREADS
"""Files that are read or wait to be added up."""

TOPICS_MAX = 10
"""Foreign topics that are told apart; more are counted together."""

ROWS_COLUMNS = ("_kafka.topic", "_kafka.partition", "_kafka.offset")
REJECTS_COLUMNS = ("topic", "partition", "offset")


class TableMoved(Exception):
    """The table has changed under the reading, and files of the state that was read are gone."""


@dataclass(slots=True)
class Tally:
    """What a table holds, or a part of it."""

    rows: int = 0
    files: int = 0
    rows_of_earlier_log: int = 0
    """Those whose messages were of an earlier topic of this name, or of the log before it was cut."""
    rows_without_offset: int = 0
    """Topic, partition or offset is null, or a number that none can be."""
    foreign_topics: dict[str, int] = field(default_factory=dict)
    """Rows that name another topic, by its name."""
    partitions: dict[int, OffsetSet] = field(default_factory=dict)
    broken: list[BrokenFile] = field(default_factory=list)
    """Files that are gone or cannot be read."""
    unequal: list[tuple[AuditFile, int]] = field(default_factory=list)
    """Files that do not hold the number of rows that their manifest claims, with the number they hold."""

    def of(self, partition: int) -> OffsetSet:
        """The partition's offsets, empty where there are none."""
        return self.partitions.get(partition) or OffsetSet()

    def merge(self, other: Tally) -> None:
        self.rows += other.rows
        self.files += other.files
        self.rows_of_earlier_log += other.rows_of_earlier_log
        self.rows_without_offset += other.rows_without_offset
        self.broken += other.broken
        self.unequal += other.unequal
        for topic, count in other.foreign_topics.items():
            self._count_foreign(topic, count)
        for partition, offsets in other.partitions.items():
            self.partitions.setdefault(partition, OffsetSet()).merge(offsets)

    def add(self, batch: pa.RecordBatch, topic: str, ends: Mapping[int, int]) -> None:
        """Take in the columns topic, partition and offset; without columns the rows are only counted.

        Args:
            ends: per partition, the offset from which on these are messages of an earlier log.
        """
        self.rows += batch.num_rows
        if not batch.num_columns:
            return
        topics, partitions, offsets = batch.columns
        topics = topics if pa.types.is_dictionary(topics.type) else topics.dictionary_encode()
        is_known = pc.and_(pc.greater_equal(partitions, 0), pc.greater_equal(offsets, 0))
        is_known = pc.and_(is_known, pc.is_valid(topics)).fill_null(False)
        is_ours = pc.and_(is_known, pc.equal(topics.indices, pc.index(topics.dictionary, topic))).fill_null(False)
        self.rows_without_offset += len(batch) - is_known.true_count
        if is_ours.true_count < is_known.true_count:
            strangers = topics.filter(pc.and_not(is_known, is_ours)).dictionary_decode()
            for each in pc.value_counts(strangers).to_pylist():
                self._count_foreign(each["values"], each["counts"])
        if is_ours.true_count < len(batch):
            partitions, offsets = partitions.filter(is_ours), offsets.filter(is_ours)
        for partition, those in _by_partition(partitions.to_numpy(), offsets.to_numpy()):
            kept = those[those < ends[partition]] if partition in ends else those
            self.rows -= len(those) - len(kept)
            self.rows_of_earlier_log += len(those) - len(kept)
            self.partitions.setdefault(partition, OffsetSet()).add(kept)

    def _count_foreign(self, topic: str, count: int) -> None:
        name = topic if topic in self.foreign_topics or len(self.foreign_topics) < TOPICS_MAX else "others"
        self.foreign_topics[name] = self.foreign_topics.get(name, 0) + count


def read_table(
    reader: TableReader,
    audit: Audit,
    columns: Sequence[str],
    ledger: Ledger,
    *,
    days: Days | None,
    patience: Patience,
    advance: Callable[[int], None],
) -> Tally:
    """Read all data files of a table at one moment.

    Args:
        columns: ROWS_COLUMNS or REJECTS_COLUMNS; none: only count.
        ledger: says which topic is no stranger, and which messages are of an earlier log: these are only counted.
        days: only files of these days are read.
        advance: told how many rows more have been read.

    Raises:
        TableMoved: see the module's head.
        Unavailable, AccessDenied: the storage stayed away.
    """

    def read(file: AuditFile | BrokenFile) -> Tally:
        if isinstance(file, BrokenFile):
            return Tally(broken=[file])
        if ledger.began_after is not None and file.sequence_number <= ledger.began_after:
            return Tally(rows_of_earlier_log=file.record_count)
        return patience.call(STORAGE, lambda: _tally_of(audit, file, columns, ledger))

    whole = Tally()
    with ThreadPoolExecutor(THREADS, "verify") as pool:
        for tally in _ahead(pool, read, _files(audit, days, patience)):
            whole.merge(tally)
            advance(tally.rows + tally.rows_of_earlier_log)
    if whole.broken and _has_moved(open_audit(reader), audit, {b.path for b in whole.broken}):
        raise TableMoved(reader.name)
    return whole


def _files(audit: Audit, days: Days | None, patience: Patience) -> Iterator[AuditFile | BrokenFile]:
    try:
        parts = patience.call(STORAGE, lambda: audit.parts(days))
    except BrokenFile as broken:
        yield broken
        return
    for part in parts:
        try:
            yield from patience.call(STORAGE, partial(audit.files, part, days))
        except BrokenFile as broken:
            yield broken


def _tally_of(audit: Audit, file: AuditFile, columns: Sequence[str], ledger: Ledger) -> Tally:
    tally, ends = Tally(files=1), ledger.ends_of_earlier_log(file.sequence_number)
    try:
        with audit.opened(file, columns) as source:
            for batch in source.batches:
                tally.add(batch, ledger.topic, ends)
    except BrokenFile as broken:
        return Tally(files=1, broken=[broken])
    stored = tally.rows + tally.rows_of_earlier_log if not file.has_deletes else source.stored_rows
    if stored is not None and stored != file.record_count:
        tally.unequal.append((file, stored))
    return tally


def _has_moved(now: Audit, then: Audit, broken: set[str]) -> bool:
    """Whether the table has gone on and names one of these files no longer."""
    if now.snapshot_id == then.snapshot_id:
        return False
    try:
        for part in now.parts():
            broken = broken - {part.manifest.manifest_path, *(file.path for file in now.files(part))}
    except BrokenFile:
        return False
    return bool(broken)


def _ahead(pool: ThreadPoolExecutor, ask: Callable[[T], Tally], things: Iterable[T]) -> Iterator[Tally]:
    """The answers in order, asked for a few at a time."""
    waiting: deque[Future[Tally]] = deque()
    for thing in things:
        waiting.append(pool.submit(ask, thing))
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _by_partition(
    partitions: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    if not len(partitions):
        return
    if partitions.min() == partitions.max():
        yield int(partitions[0]), offsets
        return
    order = np.argsort(partitions, kind="stable")
    partitions, offsets = partitions[order], offsets[order]
    begins = [0, *(np.flatnonzero(np.diff(partitions)) + 1)]
    for begin, those in zip(begins, np.split(offsets, begins[1:]), strict=True):
        yield int(partitions[begin]), those
