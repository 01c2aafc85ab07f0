"""One state of a table, read file by file: what a check needs that must see every row and fit into little memory.

    reader ──► Audit (metadata, loaded once) ──► parts ──► files of a part ──► opened(file, columns) ──► batches

A snapshot never changes, so everything here tells of one moment, whatever is committed meanwhile. What is held is one manifest's entries and,
per file that is open, one row group's columns.

**Which way a file is read.** A Parquet file that has the columns by their field ids, and from which nothing was deleted, is read by Arrow
directly: PyIceberg can project a struct only as a whole, and a message's key may be its largest part. All other files (position deletes,
deletion vectors, ORC, columns by name or missing) go through PyIceberg's own scan, which knows how. Equality deletes it does not know.

**What is a broken file.** One that the storage does not have, or whose bytes it gives in full and that cannot be understood. A storage that
does not give the bytes is not a broken file but away. Which of the two it is, is found out by reading the bytes, not from the error's text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import PYARROW_PARQUET_FIELD_ID_KEY, ArrowScan
from pyiceberg.manifest import DataFileContent, FileFormat, ManifestContent, ManifestEntry, ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.delete_file_index import DeleteFileIndex
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType

from neptune_flow.errors import NeptuneError, TableMismatch
from neptune_flow.iceberg.history import History, read_history
from neptune_flow.iceberg.reading import SnapshotInfo, TableReader, snapshot_info

BATCH_ROWS = 131_072
"""Rows of a batch: large enough that what is done per batch costs nothing, a few MB."""

PIECE_BYTES = 8 << 20
"""So much at once is read of a file whose bytes are read only to see whether the storage gives them."""


class Days(NamedTuple):
    """A range of days since 1970-01-01, both included."""

    first: int
    last: int | None
    """None: no end."""

    def holds(self, day: int) -> bool:
        return self.first <= day and (self.last is None or day <= self.last)


class BrokenFile(Exception):
    """A file that the table names is gone from the storage, or cannot be understood."""

    def __init__(self, path: str, trouble: str) -> None:
        super().__init__(f"{path}: {trouble}")
        self.path = path
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Part:
    """A manifest of data files, and the delete files that may apply to them."""

    manifest: ManifestFile = field(repr=False)
    deletes: DeleteFileIndex = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuditFile:
    """A data file of the snapshot, as the manifests describe it."""

    path: str
    day: int | None
    """Partition value: days since 1970-01-01; None where the file is partitioned in another way."""
    record_count: int
    sequence_number: int
    """Data sequence number: that of the commit which brought the rows, also after a compaction that keeps it."""
    task: FileScanTask = field(repr=False, compare=False)

    @property
    def has_deletes(self) -> bool:
        return bool(self.task.delete_files)


@dataclass(frozen=True, slots=True)
class Opened:
    """A data file under reading."""

    stored_rows: int | None
    """Rows that lie in the file, deleted ones too, as its footer says; None where it is no Parquet file."""
    batches: Iterator[pa.RecordBatch]
    """The columns asked for, flat and in their order, of the rows that are not deleted."""


class Audit:
    """A table at one moment. `opened` may be called from several threads at once.

    All methods raise `Unavailable` or `AccessDenied` where the storage does not answer or refuses.
    """

    def __init__(self, reader: TableReader, table: Table) -> None:
        self.name = reader.name
        self._faults = reader.faults
        self._table = table
        self._snapshot = table.current_snapshot()

    @property
    def snapshot_id(self) -> int | None:
        """Id of `main`'s snapshot; None where nothing was ever committed."""
        return self._snapshot.snapshot_id if self._snapshot else None

    def history(self) -> History:
        """The ledger that holds.

        Raises:
            LedgerConflict: see `history`.
        """
        return read_history(self.name, self._table.metadata)

    @cached_property
    def line(self) -> tuple[SnapshotInfo, ...]:
        """`main`'s snapshot and those of its ancestors that are still there, oldest first."""
        found = ancestors_of(self._snapshot, self._table.metadata) if self._snapshot else ()
        return tuple(snapshot_info(s) for s in found)[::-1]

    @property
    def rows_claimed(self) -> int | None:
        """Rows of the table by its newest summary, deletes not taken into account; None where it does not say."""
        summary = self._snapshot.summary if self._snapshot else None
        text = (summary.additional_properties if summary else {}).get("total-records", "")
        return int(text) if text.isdigit() else None

    def has_columns(self, columns: Iterable[str]) -> bool:
        """Whether the table has all these columns; a dot leads into a struct."""
        known = set(self._table.schema().column_names)
        return all(column in known for column in columns)

    def parts(self, days: Days | None = None) -> list[Part]:
        """What the data files are named in, without the parts that hold none of these days.

        Raises:
            BrokenFile: the manifest list, or a manifest of delete files.
            TableMismatch: the table has equality deletes.
        """
        if self._snapshot is None:
            return []
        with self._reading(self._snapshot.manifest_list):
            manifests = self._snapshot.manifests(self._table.io)
        deletes = self._deletes(m for m in manifests if m.content == ManifestContent.DELETES)
        data = (m for m in manifests if m.content == ManifestContent.DATA)
        return [Part(manifest, deletes) for manifest in data if self._may_hold(manifest, days)]

    def files(self, part: Part, days: Days | None = None) -> list[AuditFile]:
        """The data files of a part, those of other days left out.

        Raises:
            BrokenFile: its manifest.
        """
        position = self._day_position(part.manifest.partition_spec_id)
        files = []
        for entry in self._entries(part.manifest):
            file, number = entry.data_file, entry.sequence_number or 0
            day = None if position is None else file.partition[position]
            if days is None or day is None or days.holds(day):
                applying = part.deletes.for_data_file(number, file, partition_key=file.partition)
                files.append(AuditFile(file.file_path, day, file.record_count, number, FileScanTask(file, applying)))
        return files

    @contextmanager
    def opened(self, file: AuditFile, columns: Sequence[str] = ()) -> Iterator[Opened]:
        """The file for the length of a `with` block, in which its batches are read.

        Args:
            columns: of the table; a dot leads into a struct. With none, the batches tell the number of rows.

        Raises:
            BrokenFile: here, or by the batches.
        """
        with ExitStack() as stack:
            with self._reading(file.path):
                rows, batches = self._open(file, columns, stack)
            yield Opened(rows, self._guarded(file.path, batches))

    # Manifests

    def _entries(self, manifest: ManifestFile) -> list[ManifestEntry]:
        with self._reading(manifest.manifest_path):
            return manifest.fetch_manifest_entry(self._table.io)

    def _deletes(self, manifests: Iterable[ManifestFile]) -> DeleteFileIndex:
        index = DeleteFileIndex()
        for manifest in manifests:
            for entry in self._entries(manifest):
                if entry.data_file.content == DataFileContent.EQUALITY_DELETES:
                    raise TableMismatch(
                        f"table {self.name} has equality deletes, which PyIceberg cannot apply",
                        hint="rewrite its data files first (rewrite_data_files of Spark, optimize of Trino)",
                    )
                index.add_delete_file(entry, partition_key=entry.data_file.partition)
        return index

    def _may_hold(self, manifest: ManifestFile, days: Days | None) -> bool:
        position = self._day_position(manifest.partition_spec_id)
        if days is None or position is None or not manifest.partitions:
            return True
        bounds = manifest.partitions[position]
        if bounds.lower_bound is None or bounds.upper_bound is None:
            return True
        low, high = (int.from_bytes(b, "little", signed=True) for b in (bounds.lower_bound, bounds.upper_bound))
        return high >= days.first and (days.last is None or low <= days.last)

    def _day_position(self, spec_id: int) -> int | None:
        """Where in the partition's values the day stands: the first that is a date as it is."""
        schema = self._table.schema()
        for position, part in enumerate(self._table.specs()[spec_id].fields):
            is_date = part.source_id in schema.field_ids and isinstance(schema.find_type(part.source_id), DateType)
            if is_date and isinstance(part.transform, IdentityTransform):
                return position
        return None

    # Data files

    def _open(
        self, file: AuditFile, columns: Sequence[str], stack: ExitStack
    ) -> tuple[int | None, Iterator[pa.RecordBatch]]:
        if file.task.file.file_format != FileFormat.PARQUET:
            return None, self._scanned(file, columns)
        stream = stack.enter_context(self._table.io.new_input(file.path).open())
        footer = pq.read_metadata(stream)
        paths = None if file.has_deletes else self._paths(footer.schema.to_arrow_schema(), columns)
        if paths is None:
            return footer.num_rows, self._scanned(file, columns)
        # A topic's name, as one of a dictionary, costs nothing; what is no text is not affected.
        parquet = pq.ParquetFile(stream, metadata=footer, read_dictionary=paths, pre_buffer=True)
        return footer.num_rows, _row_groups(parquet, columns, paths)

    def _paths(self, stored: pa.Schema, columns: Sequence[str]) -> list[str] | None:
        """The columns' paths in the file, by their field ids; None where one has none."""
        found = dict(_ids(stored))
        schema = self._table.schema()
        paths = [found.get(schema.find_field(column).field_id) for column in columns]
        return [path for path in paths if path is not None] if None not in paths else None

    def _scanned(self, file: AuditFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """By PyIceberg's own scan; without columns the first one is read, to count."""
        schema = self._table.schema()
        projected = schema.select(*(columns or schema.column_names[:1]))
        scan = ArrowScan(self._table.metadata, self._table.io, projected, AlwaysTrue())
        for batch in scan.to_record_batches([file.task]):
            yield _flat(batch, columns, columns)

    def _guarded(self, path: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with self._reading(path):
            yield from batches

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except (NeptuneError, BrokenFile):
            raise
        except Exception as error:
            with self._faults.during(f"reading {path}"):
                self._read_through(path)
            raise BrokenFile(path, f"cannot be read: {self._faults.text(error)}") from error

    def _read_through(self, path: str) -> None:
        """Read the bytes and throw them away; raises where the storage does not give them."""
        try:
            with self._table.io.new_input(path).open() as stream:
                while stream.read(PIECE_BYTES):
                    pass
        except FileNotFoundError:
            raise BrokenFile(path, "is gone from the storage") from None


def open_audit(reader: TableReader) -> Audit:
    """The table as it is now.

    Raises:
        LedgerConflict: the table is gone.
        Unavailable, AccessDenied: the catalog does not answer, or refuses.
    """
    return Audit(reader, reader.load())


def _row_groups(parquet: pq.ParquetFile, columns: Sequence[str], paths: list[str]) -> Iterator[pa.RecordBatch]:
    """One after the other, so that no more than one is held."""
    for number in range(parquet.num_row_groups):
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[number], columns=paths):
            yield _flat(batch, columns, paths)


def _flat(batch: pa.RecordBatch, columns: Sequence[str], paths: Sequence[str]) -> pa.RecordBatch:
    if not columns:
        return batch.select([])
    return pa.RecordBatch.from_arrays([_leaf(batch, path) for path in paths], names=list(columns))


def _leaf(batch: pa.RecordBatch, path: str) -> pa.Array:
    name, *inner = path.split(".")
    array = batch.column(name)
    for name in inner:
        array = array.flatten()[array.type.get_field_index(name)]
    return array


def _ids(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[tuple[int, str]]:
    """Field id and path of each column and of each within a struct."""
    for each in fields:
        number = (each.metadata or {}).get(PYARROW_PARQUET_FIELD_ID_KEY)
        if number is not None:
            yield int(number), prefix + each.name
        if pa.types.is_struct(each.type):
            yield from _ids(each.type, f"{prefix}{each.name}.")
