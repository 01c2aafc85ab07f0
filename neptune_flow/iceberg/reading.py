"""Reading a table: its ledger, its rows, its files. Nothing here changes it.

Scans are PyIceberg's own: they need only the columns asked for, and skip the files whose bounds rule them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import ManifestContent
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Snapshot

from neptune_flow.errors import LedgerConflict
from neptune_flow.iceberg.commit import TableLook
from neptune_flow.iceberg.faults import Faults
from neptune_flow.iceberg.history import read_history
from neptune_flow.ledger import Ledger


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A data file of the table's current snapshot."""

    path: str
    day: int | None
    """Partition value: days since 1970-01-01."""
    record_count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot that the table still has."""

    snapshot_id: int
    parent_id: int | None
    timestamp_ms: int
    operation: str
    summary: dict[str, str]


class TableReader:
    """A table as it is in the catalog at the time of each call. Safe to use from several threads.

    Each method raises `Unavailable` or `AccessDenied` where catalog or storage do not answer or refuse, and
    `LedgerConflict` where the table is gone.
    """

    def __init__(self, catalog: Catalog, faults: Faults, identifier: tuple[str, ...]) -> None:
        self.name = ".".join(identifier)
        """The table's full name, namespace first."""
        self.identifier = identifier
        self.catalog = catalog
        self.faults = faults
        self._io: FileIO | None = None

    def exists(self) -> bool:
        """Whether the catalog has a table of this name."""
        return self.try_load() is not None

    def try_load(self) -> Table | None:
        """The table, None where there is none."""
        with self.faults.during(f"loading table {self.name}"):
            try:
                table = self.catalog.load_table(self.identifier)
            except (NoSuchTableError, NoSuchNamespaceError):
                return None
        self._keep_connections(table)
        return table

    def load(self) -> Table:
        """The table as it is now."""
        table = self.try_load()
        if table is None:
            raise LedgerConflict(
                f"table {self.name} is gone",
                detail="it was dropped or renamed while Neptune was using it, and the ledger with it",
                hint="bring the table back, or start again: Neptune then creates a new one, and says how to fill it",
            )
        return table

    def read_ledger(self) -> Ledger | None:
        """The ledger that holds; None where the table has never had one.

        Raises:
            LedgerConflict: see `history`.
        """
        return read_history(self.name, self.load().metadata).ledger

    def row_count(self) -> int:
        """Rows of the table, deletes taken into account."""
        with self.faults.during(f"counting the rows of {self.name}"):
            return self.load().scan().count()

    def to_arrow(self, columns: Sequence[str] | None = None, limit: int | None = None) -> pa.Table:
        """Rows of the table; in no particular order."""
        with self.faults.during(f"reading {self.name}"):
            return self.load().scan(selected_fields=tuple(columns or ("*",)), limit=limit).to_arrow()

    def files(self) -> list[FileInfo]:
        """The data files of the current snapshot."""
        table = self.load()
        with self.faults.during(f"reading the manifests of {self.name}"):
            return list(_files(table))

    def snapshots(self) -> list[SnapshotInfo]:
        """All snapshots that the table still has, in the order of their commits."""
        return [snapshot_info(s) for s in sorted(self.load().metadata.snapshots, key=lambda s: s.sequence_number or 0)]

    def offsets_between(self, partition: int, first: int, next: int, look: TableLook | None = None) -> list[int]:
        """The offsets in `[first, next)` that a table with the columns `partition` and `offset` holds, ascending.

        Args:
            look: read the table as it was looked at, without what its ledger leaves to an earlier log; else as it is now.
        """
        table = look.table if look else self.load()
        ledger = look.ledger if look else None
        wanted = f"partition = {partition:d} and offset >= {first:d} and offset < {next:d}"
        with self.faults.during(f"reading the offsets in {self.name}"):
            scan = table.scan(row_filter=wanted, selected_fields=("offset",))
            ends = _ends_of_this_log(table, ledger, partition) if ledger else {}
            tasks: dict[int, list[FileScanTask]] = {}
            for task in scan.plan_files():
                tasks.setdefault(ends.get(task.file.file_path, next), []).append(task)
            arrow = ArrowScan(table.metadata, table.io, scan.projection(), scan.row_filter)
            batches = ((end, b) for end in tasks if end > first for b in arrow.to_record_batches(tasks[end]))
            return sorted(o for end, batch in batches for o in batch.column("offset").to_pylist() if o < end)

    def _keep_connections(self, table: Table) -> None:
        """Go on with the open connections unless the properties (vended credentials) have changed."""
        if self._io is not None and self._io.properties == table.io.properties:
            table.io = self._io
        else:
            self._io = table.io


def snapshot_info(snapshot: Snapshot) -> SnapshotInfo:
    """The snapshot as a value."""
    summary = snapshot.summary
    return SnapshotInfo(
        snapshot_id=snapshot.snapshot_id,
        parent_id=snapshot.parent_snapshot_id,
        timestamp_ms=snapshot.timestamp_ms,
        operation=summary.operation.value if summary else "",
        summary=dict(summary.additional_properties) if summary else {},
    )


def look_of(name: str, table: Table) -> TableLook:
    """What a loaded table shows.

    Raises:
        LedgerConflict: see `history`.
    """
    found = read_history(name, table.metadata)
    return TableLook(ledger=found.ledger, table=table, head=found.head, tag=found.tag)


def _ends_of_this_log(table: Table, ledger: Ledger, partition: int) -> dict[str, int]:
    """For each data file that may hold messages of an earlier log, the offset of the partition below which they are of this one."""
    ends: dict[str, int] = {}
    snapshot = table.current_snapshot()
    has_marks = ledger.began_after is not None or ledger.cuts
    for manifest in snapshot.manifests(table.io) if snapshot and has_marks else []:
        for entry in manifest.fetch_manifest_entry(table.io):
            number = entry.sequence_number or 0
            if ledger.began_after is not None and number <= ledger.began_after:
                ends[entry.data_file.file_path] = 0
            elif (end := ledger.ends_of_earlier_log(number).get(partition)) is not None:
                ends[entry.data_file.file_path] = end
    return ends


def _files(table: Table) -> Iterator[FileInfo]:
    snapshot = table.current_snapshot()
    for manifest in snapshot.manifests(table.io) if snapshot else []:
        if manifest.content == ManifestContent.DATA:
            for entry in manifest.fetch_manifest_entry(table.io):
                file = entry.data_file
                day = file.partition[0] if len(file.partition) else None
                yield FileInfo(file.file_path, day, file.record_count, file.file_size_in_bytes)
