"""A table that Neptune writes: looked at, given data files, committed to. The face of this package's work.

    write_file ──► DataFile ─┐                     (any thread, any worker; visible to nobody yet)
    look ──► TableLook ──────┴──► attempt ──► Attempt      (the committer)

What decides whether to commit is `protocol`; nothing here tries twice. The parts: `columns` (what the table must be),
`parquet` (what a file holds), `history` (which ledger holds, what may go), `manifests` and `commit` (the attempt).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.schema import Schema, index_name_by_id
from pyiceberg.table import Table
from pyiceberg.types import PrimitiveType

from neptune_flow.errors import AccessDenied, LedgerConflict, TableMismatch
from neptune_flow.iceberg import columns, parquet
from neptune_flow.iceberg import commit as commits
from neptune_flow.iceberg.commit import Attempt, TableLook
from neptune_flow.iceberg.merging import Merger
from neptune_flow.iceberg.reading import TableReader, look_of
from neptune_flow.ledger import SUMMARY_KEY, Ledger
from neptune_flow.records import DataFile

SNAPSHOTS_MAX = 100
"""Own snapshots that are kept: time travel over the last hundred commits, some 100 kB of metadata."""

NEW_TABLE_PROPERTIES = {
    "write.parquet.compression-codec": "zstd",
    "write.metadata.metrics.default": "truncate(16)",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}
"""Properties of a table that Neptune creates. The last two keep the metadata files of past commits from piling up."""


class LakeTable(TableReader):
    """A table bound to the contract's columns.

    `write_file` may be called from several threads at once; `look` and `attempt` belong to one committer.
    """

    def __init__(
        self, reader: TableReader, table: Table, schema: pa.Schema, day_column: str, snapshots_max: int
    ) -> None:
        super().__init__(reader.catalog, reader.faults, reader.identifier)
        self._keep_connections(table)
        self._contract = schema
        self._binding = columns.bind(reader.name, table.metadata, schema, day_column)
        self._checked = columns.version(table.metadata)
        self._snapshots_max = snapshots_max
        self._uuid = table.metadata.table_uuid
        self._table = table
        self._known_manifests: tuple[int, list[ManifestFile]] | None = None
        self._merger: Merger | None = Merger()

    def look(self) -> TableLook:
        """The table as it is now, and the ledger that holds.

        Raises:
            LedgerConflict: tag and `main` tell different stories, or the table is gone or another one.
            TableMismatch: its columns or partitioning were changed under Neptune's feet.
            Unavailable, AccessDenied: the catalog does not answer, or refuses.
        """
        table = self.load()
        self._check_unchanged(table)
        return look_of(self.name, table)

    def write_file(self, batches: Sequence[pa.RecordBatch], day: int) -> DataFile:
        """Write rows as one Parquet file, whole or not at all. Nobody sees it before a commit names it.

        Args:
            batches: at least one row; the contract's columns; all rows of one day.
            day: days since 1970-01-01.

        Raises:
            Unavailable, AccessDenied: the storage does not answer, or refuses.
            ValueError: the rows are not what was promised.
        """
        rows = pa.Table.from_batches(batches)
        _check_day(rows, self._binding.day_column, day)
        table = self._table
        content, footer = parquet.encode(rows, self._binding, table.properties)
        path = table.location_provider().new_data_location(f"{uuid.uuid4()}.parquet", _partition_key(table, day))
        self._store(path, content)
        return parquet.describe(path, day, content, footer, self._binding, table.properties)

    def attempt(
        self, look: TableLook, files: Sequence[DataFile], ledger: Ledger, commit: str, summary: Mapping[str, str]
    ) -> Attempt:
        """Commit these files and this ledger on top of what was looked at; one attempt, see `commit`.

        Args:
            files: may be empty; then only the ledger moves.
            commit: the commit's id, the same in each of its attempts.
            summary: further keys of the snapshot's summary.
        """
        known = self._known_manifests
        task = commits.Task(
            table=self.name,
            look=look,
            files=files,
            ledger=ledger,
            summary={**summary, commits.COMMIT_KEY: commit, SUMMARY_KEY: ledger.to_json()},
            snapshots_max=self._snapshots_max,
            known_manifests=known[1] if known and known[0] == look.head else None,
            merger=self._merger,
        )
        attempt, manifests = commits.attempt(task, self.faults)
        if manifests is not None and attempt.snapshot_id is not None:
            self._known_manifests = (attempt.snapshot_id, manifests)
        return attempt

    def _store(self, path: str, content: pa.Buffer) -> None:
        """Write a file; once more with fresh credentials where the old ones were refused and the catalog vends them."""
        with self.faults.during(f"writing {path}"):
            used = self._storage()
            try:
                _write(used, path, content)
            except Exception as error:
                if not isinstance(self.faults.translate("", error), AccessDenied):
                    raise
                self.load()
                if self._storage() is used:
                    raise
                _write(self._storage(), path, content)

    def _storage(self) -> FileIO:
        return self._io or self._table.io

    def _check_unchanged(self, table: Table) -> None:
        metadata = table.metadata
        if metadata.table_uuid != self._uuid:
            raise LedgerConflict(
                f"table {self.name} is another table than before",
                detail="it was dropped and created again while Neptune was using it",
                hint="start again: Neptune then looks at the new one, and says how to go on",
            )
        version = columns.version(metadata)
        if version == self._checked:
            return
        binding = columns.bind(self.name, metadata, self._contract, self._binding.day_column)
        if _ids_and_types(binding.schema) != _ids_and_types(self._binding.schema):
            raise TableMismatch(
                f"a column of table {self.name} was replaced by another of the same name while Neptune was using it",
                hint="start again: Neptune then uses the new one",
            )
        self._checked = version


def ensure_table(
    reader: TableReader,
    schema: pa.Schema,
    *,
    day_column: str,
    location: str | None,
    properties: Mapping[str, str],
    snapshots_max: int,
) -> LakeTable:
    """The table with these columns, created where it is missing; see `Lake.ensure_table`."""
    table = reader.try_load()
    if table is None:
        _create(reader, schema, day_column, location, properties)
        table = reader.load()
    return LakeTable(reader, table, schema, day_column, snapshots_max)


def _create(
    reader: TableReader, schema: pa.Schema, day_column: str, location: str | None, properties: Mapping[str, str]
) -> None:
    """Create namespace and table; whatever went wrong, that they are there afterwards is all that counts."""
    namespace, catalog = reader.identifier[:-1], reader.catalog
    iceberg = columns.iceberg_schema(reader.name, schema)
    spec = columns.day_partition(iceberg, day_column)
    with reader.faults.during(f"creating table {reader.name}"):
        if not catalog.namespace_exists(namespace):
            _create_unless(lambda: catalog.namespace_exists(namespace), lambda: catalog.create_namespace(namespace))
        _create_unless(
            reader.exists,
            lambda: catalog.create_table(
                reader.identifier, iceberg, location=location, partition_spec=spec, properties=dict(properties)
            ),
        )


def _create_unless(is_there: Callable[[], bool], create: Callable[[], object]) -> None:
    """Several processes create the same at once, and catalogs report that in many ways; so does a lost answer."""
    try:
        create()
    except Exception:
        if not is_there():
            raise


def _write(storage: FileIO, path: str, content: pa.Buffer) -> None:
    with storage.new_output(path).create(overwrite=True) as stream:
        stream.write(cast(bytes, content))  # a buffer will do: no copy of the file is made


def _check_day(rows: pa.Table, day_column: str, day: int) -> None:
    found = pc.min_max(rows.column(day_column).cast(pa.int32()))
    if rows.num_rows == 0 or (found["min"].as_py(), found["max"].as_py()) != (day, day):
        raise ValueError(f"a data file of day {day} was given {rows.num_rows} rows with days {found}")


def _partition_key(table: Table, day: int) -> PartitionKey:
    spec = table.spec()
    return PartitionKey([PartitionFieldValue(spec.fields[0], day)], spec, table.schema())


def _ids_and_types(schema: Schema) -> dict[int, tuple[str, object]]:
    """What a data file depends on: a comment, or a column that became optional, changes nothing."""
    names = index_name_by_id(schema)
    types = {field_id: schema.find_type(field_id) for field_id in names}
    return {
        i: (name, t if isinstance(t, PrimitiveType) else type(t))
        for (i, name), t in zip(names.items(), types.values(), strict=True)
    }
