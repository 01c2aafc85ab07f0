"""A small lake to test on: a SQLite catalog, a local folder, one table of events, and what can be done to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import (
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary, update_snapshot_summaries
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate, TableRequirement, TableUpdate

from neptune_flow.iceberg import Attempt, Lake, LakeTable, TableLook
from neptune_flow.iceberg.faults import Faults
from neptune_flow.iceberg.manifests import Writer, iceberg_file
from neptune_flow.ledger import Entry, Ledger
from neptune_flow.protocol import Outcome
from neptune_flow.records import DataFile

NAMESPACE = ("default",)
NAME = "events"
DAY = 19675
"""2023-11-14."""
DAY_US = 86_400_000_000
KAFKA = pa.struct(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("key", pa.binary()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("lat", pa.float64(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("event_date", pa.date32(), nullable=False),
        pa.field("_kafka", KAFKA, nullable=False),
        pa.field("_extra", pa.string()),
    ]
)

_FILE_PATH = pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": "2147483546"})
_POSITION = pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"})


def properties(folder: Path, **more: str) -> dict[str, str]:
    return {"uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/warehouse", **more}


def open_lake(folder: Path) -> Lake:
    return Lake.open("lake", properties(folder), request_timeout_s=5)


def open_table(
    lake: Lake,
    schema: pa.Schema = SCHEMA,
    *,
    name: str = NAME,
    snapshots_max: int = 100,
    properties: Mapping[str, str] | None = None,
) -> LakeTable:
    return lake.ensure_table(
        NAMESPACE, name, schema, day_column="event_date", snapshots_max=snapshots_max, properties=properties
    )


def rows(
    first: int, count: int, *, day: int = DAY, partition: int = 0, ids: Sequence[str] | None = None
) -> pa.RecordBatch:
    """Events with the offsets `[first, first + count)` of a partition."""
    offsets = list(range(first, first + count))
    kafka = [{"topic": "sessions", "partition": partition, "offset": o, "key": b"k%d" % o} for o in offsets]
    return pa.record_batch(
        [
            pa.array(ids or [f"id-{o}" for o in offsets], pa.string()),
            pa.array(["en_route"] * count, pa.string()),
            pa.array([o / 7 for o in offsets], pa.float64()),
            pa.array([day * DAY_US + o for o in offsets], pa.timestamp("us", "UTC")),
            pa.array([day] * count, pa.int32()).cast(pa.date32()),
            pa.array(kafka, KAFKA),
            pa.array([None] * count, pa.string()),
        ],
        schema=SCHEMA,
    )


def ledger(next: int, commit: str = "c", topic: str = "sessions") -> Ledger:
    return Ledger(topic=topic, topic_id=None, entries={0: Entry(first=0, next=next, commit=commit, rows=next)})


def attempt(
    table: LakeTable,
    next: int,
    files: Sequence[DataFile] = (),
    *,
    look: TableLook | None = None,
    commit: str = "c",
    summary: Mapping[str, str] | None = None,
) -> Attempt:
    return table.attempt(look or table.look(), files, ledger(next, commit), commit, summary or {})


class Landed(NamedTuple):
    """What a commit that landed did."""

    snapshot_id: int
    merged_entries: int
    snapshots_expired: int


def land(table: LakeTable, first: int, count: int, *, day: int = DAY) -> Landed:
    """Commit rows with a fresh look; it must land."""
    files = [table.write_file([rows(first, count, day=day)], day)] if count else []
    result = attempt(table, first + count, files, commit=f"c{first}")
    assert result.outcome is Outcome.LANDED, result
    assert result.snapshot_id is not None
    return Landed(result.snapshot_id, result.merged_entries, result.snapshots_expired)


def stock(table: LakeTable) -> Table:
    """The table as another program has it, to do foreign things with PyIceberg's stock means."""
    return table.catalog.load_table(table.identifier)


def foreign_append(table: LakeTable, first: int, count: int) -> int:
    """Rows that another writer appends; the id of its snapshot."""
    other = stock(table)
    other.append(pa.Table.from_batches([rows(first, count)]))
    snapshot = other.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def foreign_position_delete(table: LakeTable, path: str, positions: Sequence[int]) -> None:
    """Rows of a data file that another writer deletes by position, as Spark's merge-on-read does."""
    other, writer = stock(table), _foreign_writer(table, _DeleteWriter)
    columns = [pa.array([path] * len(positions)), pa.array(positions, pa.int64())]
    target = other.location_provider().new_data_location("deletes.parquet")
    pq.write_table(pa.table(columns, schema=pa.schema([_FILE_PATH, _POSITION])), target.removeprefix("file://"))
    deletes = DataFile(target, DAY, len(positions), 1, {}, {}, {}, {}, {}, {}, ())
    counts = {"added-position-deletes": str(len(positions)), "added-delete-files": "1"}
    _foreign_commit(table, writer, [*writer.add([deletes]), *_manifests(other)], counts)


def foreign_file_delete(table: LakeTable, path: str) -> None:
    """A data file that another writer deletes in the manifest where its neighbours stay, as Iceberg's Java does."""
    other, writer = stock(table), _foreign_writer(table, Writer)
    manifest = writer.open()
    for entry in [e for m in _manifests(other) for e in m.fetch_manifest_entry(other.io)]:
        gone = entry.data_file.file_path == path
        entry.status = ManifestEntryStatus.DELETED if gone else ManifestEntryStatus.EXISTING
        entry.snapshot_id = writer.snapshot_id if gone else entry.snapshot_id or 0
        manifest.writer.add_entry(entry)
    counts = {"deleted-data-files": "1"}
    _foreign_commit(table, writer, [writer.close(manifest)], counts)


def _manifests(table: Table) -> list[ManifestFile]:
    snapshot = table.current_snapshot()
    return snapshot.manifests(table.io) if snapshot else []


def _foreign_writer(table: LakeTable, kind: type[Writer]) -> Writer:
    other = stock(table)
    ids = other.metadata.new_snapshot_id(), other.metadata.next_sequence_number()
    return kind(other, *ids, other.location_provider())


def _foreign_commit(
    table: LakeTable, writer: Writer, manifests: Sequence[ManifestFile], counts: Mapping[str, str]
) -> None:
    parent = writer.table.current_snapshot()
    assert parent is not None
    location, _ = writer.write_list(manifests, parent.snapshot_id)
    snapshot = Snapshot.model_validate(
        {
            "snapshot-id": writer.snapshot_id,
            "parent-snapshot-id": parent.snapshot_id,
            "sequence-number": writer.sequence_number,
            "manifest-list": location,
            "summary": update_snapshot_summaries(Summary(Operation.OVERWRITE, **counts), parent.summary),
        }
    )
    main = {"ref-name": "main", "type": "branch", "snapshot-id": writer.snapshot_id}
    changes = AddSnapshotUpdate(snapshot=snapshot), SetSnapshotRefUpdate.model_validate(main)
    table.catalog.commit_table(writer.table, (), changes)


class _DeleteWriter(Writer):
    """Writes a manifest of delete files with the means of the package."""

    content = DataFileContent.POSITION_DELETES

    def add(self, files: Sequence[DataFile]) -> list[ManifestFile]:
        entry = iceberg_file(files[0], self.table.metadata.default_spec_id)
        entry._data[0] = self.content
        path = self.locations.new_metadata_location("deletes.avro")
        with _DeleteManifestWriter(
            self.table.spec(), self.table.schema(), self.table.io.new_output(path), self.snapshot_id, "deflate"
        ) as writer:
            writer.add(ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, data_file=entry))
        return [writer.to_manifest_file()]


class _DeleteManifestWriter(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def roll_back(table: LakeTable, snapshot_id: int) -> None:
    stock(table).manage_snapshots().rollback_to_snapshot(snapshot_id).commit()


def offsets(table: LakeTable) -> list[int]:
    """The offsets of all rows, by PyIceberg's own scan."""
    column = stock(table).scan().to_arrow().column("_kafka").combine_chunks()
    return sorted(column.field("offset").to_pylist())


def manifest(
    number: int,
    added: int,
    *,
    existing: int = 0,
    deleted: int = 0,
    spec_id: int = 0,
    content: ManifestContent = ManifestContent.DATA,
) -> ManifestFile:
    """A manifest as a list names it; there is no such file."""
    return ManifestFile.from_args(
        manifest_path=f"m{number}",
        manifest_length=1,
        partition_spec_id=spec_id,
        content=content,
        sequence_number=number,
        min_sequence_number=number,
        added_snapshot_id=number,
        added_files_count=added,
        existing_files_count=existing,
        deleted_files_count=deleted,
        added_rows_count=added,
        existing_rows_count=existing,
        deleted_rows_count=deleted,
        partitions=None,
        key_metadata=None,
    )


class TroubledCatalog(SqlCatalog):
    """A real catalog whose answer to a commit can be lost, before or after it was applied."""

    before: Exception | None = None
    after: Exception | None = None

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        if self.before is not None:
            raise self.before
        answer = super().commit_table(table, requirements, updates)
        if self.after is not None:
            raise self.after
        return answer


def troubled_lake(folder: Path) -> tuple[Lake, TroubledCatalog]:
    known = properties(folder)
    catalog = TroubledCatalog("lake", **known)
    return Lake(catalog, Faults("lake", known)), catalog
