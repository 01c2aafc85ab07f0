"""One snapshot of a table as an Arrow dataset: who reads it gives filters and columns, and reads no file that cannot hold what is asked for.

    reader ──► picture_of(reader, snapshot) ──► Picture ──► dataset (for a query engine), or batches(columns, filter)

Each data file is a fragment that carries its day as a guarantee, so a filter on the day opens no other files; inside a file Parquet's own
statistics rule out row groups. Nothing is read before somebody asks, and never more than some batches are held.

Arrow finds columns by their names, Iceberg by their ids. Where the two could differ (a column was renamed, or one of an old name came back), where
rows were deleted by delete files, or where a file is no Parquet, there is no dataset: `batches` then goes through PyIceberg's own scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.io.pyarrow import PyArrowFileIO, schema_to_pyarrow
from pyiceberg.manifest import FileFormat
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema, index_name_by_id
from pyiceberg.table import DataScan, FileScanTask, Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType

from neptune_flow.errors import TableMismatch
from neptune_flow.iceberg.reading import TableReader

BATCH_ROWS = 8192
"""Rows of a batch at most; a file's row group may hold fewer."""
AHEAD = 1
"""Batches, and files, that are read before they are asked for."""


class _Frugal(ds.FileSystemDataset):  # type: ignore[misc]
    """A dataset that is not read far ahead of who asks: with its own threads and limits Arrow decodes hundreds of MB that a slow reader has no use for yet.

    A query engine asks for columns and a filter, and leaves all else to Arrow; so that is decided here.
    """

    def scanner(self, **asked: Any) -> ds.Scanner:
        return super().scanner(
            **asked, batch_size=BATCH_ROWS, batch_readahead=AHEAD, fragment_readahead=AHEAD, use_threads=False
        )


class Picture:
    """What a table held at one snapshot. All methods raise as `TableReader` does."""

    def __init__(self, reader: TableReader, table: Table, scan: DataScan) -> None:
        self.name = reader.name
        self._faults = reader.faults
        self._table = table
        self._scan = scan
        self.schema: pa.Schema = schema_to_pyarrow(scan.projection(), include_field_ids=False)
        """The columns of the snapshot, strings as large ones."""

    @property
    def snapshot_id(self) -> int | None:
        """None where nothing was ever committed."""
        snapshot = self._scan.snapshot()
        return snapshot.snapshot_id if snapshot else None

    @cached_property
    def dataset(self) -> ds.Dataset | None:
        """The files with all that Arrow needs to know of them; None where Arrow alone would read them wrongly."""
        tasks = self._tasks
        if not _names_tell_columns(self._table) or not all(map(_is_plain, tasks)):
            return None
        fragments = [self._fragment(task) for task in tasks]
        return _Frugal(fragments, self.schema, ds.ParquetFileFormat())

    @property
    def rows(self) -> int:
        """Rows of the data files, deleted ones too."""
        return sum(task.file.record_count for task in self._tasks)

    def batches(
        self, columns: Sequence[str] | None = None, wanted: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows in no particular order.

        Args:
            columns: only these.
            wanted: only the rows for which this holds.
        """
        with self._faults.during(f"reading {self.name}"):
            yield from self._batches(list(columns or self.schema.names), wanted)

    def _batches(self, columns: list[str], wanted: ds.Expression | None) -> Iterator[pa.RecordBatch]:
        if self.dataset is not None:
            yield from self.dataset.scanner(columns=columns, filter=wanted).to_batches()
            return
        for batch in self._scan.to_arrow_batch_reader():
            rows = pa.Table.from_batches([batch])
            yield from (rows if wanted is None else rows.filter(wanted)).select(columns).to_batches()

    @cached_property
    def _tasks(self) -> list[FileScanTask]:
        with self._faults.during(f"reading the manifests of {self.name}"):
            try:
                return list(self._scan.plan_files())
            except ValueError as error:
                # PyIceberg's word for equality deletes, which it cannot apply.
                raise TableMismatch(
                    f"table {self.name} cannot be read: {error}",
                    hint="rewrite its data files first (rewrite_data_files of Spark, optimize of Trino)",
                ) from None

    def _fragment(self, task: FileScanTask) -> ds.Fragment:
        io = self._table.io
        assert isinstance(io, PyArrowFileIO)  # noqa: S101 - the lake is opened with it
        scheme, netloc, path = PyArrowFileIO.parse_location(task.file.file_path, io.properties)
        day = _day_of(task, self._table.specs()[task.file.spec_id], self._table.schema())
        return ds.ParquetFileFormat().make_fragment(
            path, filesystem=io.fs_by_scheme(scheme, netloc), partition_expression=day
        )


def picture_of(reader: TableReader, snapshot_id: int | None = None) -> Picture:
    """The table at this snapshot; as it is now where none is named.

    Raises:
        LedgerConflict: the table is gone.
        TableMismatch: it has no such snapshot.
        Unavailable, AccessDenied: the catalog does not answer, or refuses.
    """
    table = reader.load()
    if snapshot_id is not None and table.snapshot_by_id(snapshot_id) is None:
        raise TableMismatch(
            f"table {reader.name} has no snapshot {snapshot_id}",
            hint="`neptune status --commits 100` lists those that are still there",
        )
    return Picture(reader, table, table.scan(snapshot_id=snapshot_id))


def _is_plain(task: FileScanTask) -> bool:
    return not task.delete_files and task.file.file_format == FileFormat.PARQUET


def _names_tell_columns(table: Table) -> bool:
    """Whether every column of the present schema has had its name, and nobody else had it, in every schema that the table has had."""
    now = index_name_by_id(table.schema())
    ids = {name: number for number, name in now.items()}
    for schema in table.schemas().values():
        for number, name in index_name_by_id(schema).items():
            if now.get(number, name) != name or ids.get(name, number) != number:
                return False
    return True


def _day_of(task: FileScanTask, spec: PartitionSpec, schema: Schema) -> ds.Expression | None:
    """The day of all rows of a file, where the table is partitioned by a date as it is."""
    for position, field in enumerate(spec.fields):
        is_there = field.source_id in schema.field_ids
        if is_there and isinstance(field.transform, IdentityTransform):
            column, day = schema.find_field(field.source_id), task.file.partition[position]
            if isinstance(column.field_type, DateType) and day is not None:
                return ds.field(column.name) == pa.scalar(day, pa.int32()).cast(pa.date32())
    return None
