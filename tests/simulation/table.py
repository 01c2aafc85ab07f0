"""A simulated catalog and object storage behind the real `LakeTable`, and everything that can go wrong with them.

    write_file   storage errors before and after the file is there
    manifests    storage errors, before anything was sent
    load_table   the catalog is away, or refuses
    commit_table applied, or refused for its pin; and the answer is lost, an error (409, 403, 500, 503, half an answer …) whether it was applied or
                 not, or comes while the commit is still under way, to arrive at any later time

Real are `LakeTable.look` and `attempt`, the pin, what an error means (`classify`), which ledger holds and what expires (`history`). Simulated are
files: a data file is the list of its messages, a manifest list the list of its data files. Others who write to the table are here too.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pyarrow as pa
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    ForbiddenError,
    RESTError,
    ServiceUnavailableError,
    UnauthorizedError,
)
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, RemoveSnapshotsUpdate, SetSnapshotRefUpdate
from requests import ConnectionError as NoConnection
from requests import HTTPError, ReadTimeout, Response

from neptune_flow.iceberg import LakeTable, commit, history
from neptune_flow.iceberg.commit import TableLook
from neptune_flow.iceberg.faults import Faults
from neptune_flow.iceberg.manifests import Traffic
from neptune_flow.iceberg.reading import TableReader
from neptune_flow.ledger import SUMMARY_KEY, TAG, Ledger
from neptune_flow.records import DataFile
from tests.simulation.world import Defect, World


class Landed(NamedTuple):
    """One message as a table holds it."""

    generation: int
    partition: int
    offset: int


@dataclass(frozen=True)
class Metadata:
    """As much of Iceberg's table metadata as Neptune looks at."""

    table_uuid: uuid.UUID
    snapshots: tuple[Snapshot, ...] = ()
    refs: Mapping[str, SnapshotRef] = field(default_factory=dict)
    snapshot_log: tuple[Any, ...] = ()
    format_version: int = 2
    current_schema_id: int = 0
    default_spec_id: int = 0
    last_updated_ms: int = 0
    properties: Mapping[str, str] = field(default_factory=dict)

    def snapshot_by_id(self, snapshot_id: int) -> Snapshot | None:
        return next((s for s in self.snapshots if s.snapshot_id == snapshot_id), None)

    @property
    def head(self) -> Snapshot | None:
        ref = self.refs.get(MAIN_BRANCH)
        return self.snapshot_by_id(ref.snapshot_id) if ref else None

    def with_ref(self, name: str, snapshot_id: int) -> Metadata:
        kind = SnapshotRefType.BRANCH if name == MAIN_BRANCH else SnapshotRefType.TAG
        ref = SnapshotRef.model_validate({"snapshot-id": snapshot_id, "type": kind})
        refs = {**self.refs, name: ref}
        moved = (SimpleNamespace(snapshot_id=snapshot_id),) if name == MAIN_BRANCH else ()
        return replace(self, refs=refs, snapshot_log=self.snapshot_log + moved)

    def without(self, snapshot_ids: Sequence[int]) -> Metadata:
        return replace(self, snapshots=tuple(s for s in self.snapshots if s.snapshot_id not in snapshot_ids))


class SimTable:
    """One table with its catalog entry and its storage; all processes share it."""

    def __init__(
        self, world: World, name: str, day_column: str, on_ledger: Callable[[Ledger | None, Ledger], None]
    ) -> None:
        self.world, self.name, self.day_column = world, name, day_column
        self.identifier = ("default", name)
        self.storage: dict[str, list[Landed]] = {}
        self.lists: dict[str, tuple[str, ...]] = {}
        """The data files of each manifest list."""
        self.taken_away: set[Landed] = set()
        """What others have deleted."""
        self.in_flight: list[tuple[Sequence[Any], Sequence[Any]]] = []
        self.metadata = Metadata(uuid.UUID(int=0))
        self._on_ledger = on_ledger
        self._numbers = 0

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    # What a reader sees

    def files(self, metadata: Metadata | None = None) -> tuple[str, ...]:
        """Data files now, or as the metadata of an earlier day says."""
        head = (metadata or self.metadata).head
        return self.lists[head.manifest_list] if head else ()

    def content(self, metadata: Metadata | None = None) -> list[Landed]:
        """Messages now, or as the metadata of an earlier day says."""
        return [row for path in self.files(metadata) for row in self.storage.get(path, ())]

    @property
    def ledger(self) -> Ledger | None:
        ref = self.metadata.refs.get(TAG)
        return _ledger_of(self.metadata, ref.snapshot_id) if ref else None

    def missing_files(self) -> set[str]:
        """Data files that a snapshot names and that are not there."""
        named = {path for s in self.metadata.snapshots for path in self.lists[s.manifest_list]}
        return named - self.storage.keys()

    # The catalog, as PyIceberg's client calls it

    def load_table(self, identifier: tuple[str, ...]) -> Table:
        self.world.effect(f"load {self.name}")
        if self.world.fault("catalog away", 0.5):
            raise self._error(
                [NoConnection("away"), _http(ServiceUnavailableError, 503), _http(UnauthorizedError, 401)]
            )
        return Table(identifier, cast(Any, self.metadata), "", cast(Any, _IO), cast(Any, self))

    def commit_table(self, _table: Table, requirements: Sequence[Any], updates: Sequence[Any]) -> Any:
        self.world.effect(f"commit to {self.name}")
        how = self.world.dice.pick(HOW) if self.world.fault("commit", COMMIT_FAULTS) else None
        if how:
            self.world.faults[f"commit {how}"] += 1
        if how == "in flight":
            self.in_flight.append((requirements, updates))
            raise self._error(_errors(), how)
        if how == "refused or lost":
            raise self._error(_errors(), how)
        try:
            self.apply(requirements, updates)
        except CommitFailedException:
            raise
        except Exception as error:
            raise Defect("the simulated catalog") from error
        self.world.effect(f"the answer of {self.name}")
        if how:
            raise self._error(_errors(), how)
        return SimpleNamespace(metadata=self.metadata, metadata_location="")

    def apply(self, requirements: Sequence[Any], updates: Sequence[Any]) -> None:
        """All of it, or CommitFailedException."""
        for requirement in requirements:
            requirement.validate(self.metadata)
        after = self.metadata
        for update in updates:
            match update:
                case AddSnapshotUpdate():
                    after = replace(after, snapshots=(*after.snapshots, update.snapshot))
                case SetSnapshotRefUpdate():
                    after = after.with_ref(update.ref_name, update.snapshot_id)
                case RemoveSnapshotsUpdate():
                    after = after.without(update.snapshot_ids)
        before, self.metadata = self.ledger, after
        if self.world.tells:
            self.world.tell(f"{self.name} is at {self.told()}")
        if self.ledger:
            self._on_ledger(before, self.ledger)

    def told(self) -> str:
        """Ledger and content in a few words."""
        entries = self.ledger.entries.items() if self.ledger else ()
        rows = [f"{r.partition}/{r.offset}" for r in sorted(self.content())]
        return f"{ {p: (e.next, e.commit) for p, e in entries} }, holds {' '.join(rows) or 'nothing'}"

    def arrive(self) -> None:
        """What is in flight reaches the catalog, one of it; nobody waits for the answer."""
        requirements, updates = self.in_flight.pop(self.world.dice.below(len(self.in_flight)))
        self.world.tell(f"a commit to {self.name} that was in flight arrives")
        try:
            self.apply(requirements, updates)
        except CommitFailedException as refused:
            self.world.tell(f"{refused}")

    def _error(self, errors: Sequence[Exception], when: str = "") -> Exception:
        error = self.world.dice.pick(errors)
        if self.world.tells:
            self.world.tell(f"{self.name}: {type(error).__name__} {error} {when}")
        return error

    # Others who write here

    def foreign(self, files: Sequence[str]) -> None:
        """A commit by another tool, which knows no ledger: the table then has these files."""
        head = self.metadata.head
        snapshot = self.snapshot(self.metadata, head, files, {})
        after = replace(self.metadata, snapshots=(*self.metadata.snapshots, snapshot))
        self.metadata = after.with_ref(MAIN_BRANCH, snapshot.snapshot_id)

    def snapshot(
        self, metadata: Metadata, parent: Snapshot | None, files: Sequence[str], summary: Mapping[str, str]
    ) -> Snapshot:
        number = self.number()
        path = f"list-{number}"
        self.lists[path] = tuple(files)
        return Snapshot.model_validate(
            {
                "snapshot-id": number,
                "parent-snapshot-id": parent.snapshot_id if parent else None,
                "sequence-number": max((s.sequence_number or 0 for s in metadata.snapshots), default=0) + 1,
                "timestamp-ms": number,
                "manifest-list": path,
                "summary": Summary(Operation.APPEND, **summary),
                "schema-id": 0,
            }
        )

    def store(self, rows: list[Landed]) -> str:
        path = f"{self.name}-{self.number()}"
        self.storage[path] = rows
        return path

    def line(self) -> Iterator[Snapshot]:
        """`main`'s snapshot and its ancestors, the youngest first."""
        snapshot = self.metadata.head
        while snapshot:
            yield snapshot
            parent = snapshot.parent_snapshot_id
            snapshot = self.metadata.snapshot_by_id(parent) if parent is not None else None

    def recreate(self) -> None:
        """Dropped, and there is a new one of this name."""
        self.metadata = Metadata(uuid.UUID(int=self.number()))


class SimLakeTable(LakeTable):
    """A process's handle of a table: the real one, but for what a file is."""

    def __init__(self, table: SimTable) -> None:
        TableReader.__init__(self, cast(Any, table), Faults("catalog", {}), table.identifier)
        loaded = self.load()
        self._sim = table
        self._uuid = loaded.metadata.table_uuid
        self._checked = history_version(loaded)
        self._snapshots_max = 3
        self._known_manifests = None
        self._merger = None

    def write_file(self, batches: Sequence[pa.RecordBatch], day: int) -> DataFile:
        sim, world = self._sim, self._sim.world
        with self.faults.during("writing a file"):
            world.effect(f"write a file of {sim.name}")
            if world.fault("storage error, nothing written"):
                raise sim._error([OSError("no route to storage"), PermissionError("denied")])
            rows = pa.Table.from_batches(batches)
            assert set(rows.column(sim.day_column).to_pylist()) == {date.fromordinal(_EPOCH + day)}, "a file spans days"
            path = sim.store([Landed(*map(int, v.split("/"))) for v in rows.column("value").to_pylist()])
            if world.fault("storage error, file written"):
                raise OSError("the answer of the storage is lost")
            world.effect(f"a file of {sim.name} is written")
        return DataFile(path, day, rows.num_rows, 1, {}, {}, {}, {}, {}, {}, ())

    def offsets_between(self, partition: int, first: int, next: int, look: TableLook | None = None) -> list[int]:
        table = look.table if look else self.load()
        rows = self._sim.content(cast(Metadata, table.metadata))
        return sorted(r.offset for r in rows if r.partition == partition and first <= r.offset < next)


def prepare(task: commit.Task) -> commit.Prepared:
    """Stands for `commit.prepare`: the snapshot, with lists of files for manifests."""
    table, metadata = task.look.table, task.look.table.metadata
    sim = cast(SimTable, table.catalog)
    sim.world.effect(f"write the manifests of {sim.name}")
    if sim.world.fault("storage error at the manifests"):
        raise sim._error([OSError("no route to storage"), PermissionError("denied")])
    parent = metadata.snapshot_by_id(task.look.head) if task.look.head is not None else None
    read = sim.lists[parent.manifest_list] if parent else ()
    old = cast(Sequence[str], task.known_manifests) if parent and task.known_manifests is not None else read
    files = [*(f.path for f in task.files), *old]
    snapshot = sim.snapshot(cast(Metadata, metadata), parent, files, task.summary)
    expired = history.expirable(metadata, now_ms=0, snapshots_max=task.snapshots_max)
    return commit.Prepared(snapshot, cast(Any, files), 0, expired, Traffic())


def history_version(table: Table) -> tuple[int, int, int]:
    metadata = table.metadata
    return metadata.format_version, metadata.current_schema_id, metadata.default_spec_id


def _ledger_of(metadata: Metadata, snapshot_id: int) -> Ledger | None:
    snapshot = metadata.snapshot_by_id(snapshot_id)
    text = snapshot.summary.additional_properties.get(SUMMARY_KEY) if snapshot and snapshot.summary else None
    return _ledger_from(text) if text else None


_ledger_from = lru_cache(100)(Ledger.from_json)


def _http(kind: type[Exception], status: int) -> Exception:
    """As PyIceberg's REST client raises it: with the answer behind."""
    response = Response()
    response.status_code = status
    error = kind(f"HTTP {status}")
    error.__cause__ = HTTPError(response=response)
    return error


def _errors() -> list[Exception]:
    """What a client may get instead of the answer; which of them mean "not applied" is for the code under test to say."""
    return [
        _http(CommitFailedException, 409),
        _http(CommitStateUnknownException, 500),
        _http(ServiceUnavailableError, 503),
        _http(ForbiddenError, 403),
        _http(RESTError, 429),
        NoConnection("connection reset by peer"),
        ReadTimeout("no answer in time"),
        ValueError("half an answer"),
    ]


HOW = ["refused or lost", "in flight", "error although applied"]
COMMIT_FAULTS = 4
"""Commits are where it matters: they go wrong more often than the rest, by this factor."""
_IO = SimpleNamespace(properties={})
_EPOCH = date(1970, 1, 1).toordinal()
