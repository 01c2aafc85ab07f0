"""One attempt to commit: new manifests, then one `Catalog.commit_table` that is pinned to what was looked at.

    look ──► manifests and manifest list ──► commit_table(requirements, updates) ──► Attempt
             (nothing sent yet: refused)      (one request, never repeated here)

*Requirements*: the table's uuid, `main` and the tag as they were looked at, schema and partition spec unchanged.
*Updates*: the new snapshot, `main` and the tag moved onto it, old snapshots removed. All of it lands, or nothing.

What an attempt may say:

- LANDED only if the catalog's answer shows `main` and the tag at the new snapshot;
- REFUSED if nothing was sent, on a conflict, and on the HTTP answers that mean "not applied" (_NOT_APPLIED);
- UNKNOWN for everything else: a server that fails, times out, drops the line or sends half an answer may have applied
  it.

No file is deleted after a failure: it may be part of a snapshot that did land. What a landed commit leaves behind of
the table's own metadata log is removed as the table's properties demand, where the catalog leaves that to its
clients.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, Summary, update_snapshot_summaries
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    AssertCurrentSchemaId,
    AssertDefaultSpecId,
    AssertRefSnapshotId,
    AssertTableUUID,
    RemoveSnapshotsUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)

from neptune_flow.errors import AccessDenied, NeptuneError, Unavailable
from neptune_flow.iceberg import history
from neptune_flow.iceberg.faults import Faults, http_status
from neptune_flow.iceberg.manifests import Traffic, Writer, carried
from neptune_flow.iceberg.merging import Merged, Merger
from neptune_flow.ledger import TAG, Ledger
from neptune_flow.protocol import Look, Outcome
from neptune_flow.records import DataFile

COMMIT_KEY = "neptune.commit"
"""Summary key of the commit's id."""

_NOT_APPLIED = frozenset({400, 401, 403, 404, 409, 419, 422, 429})
"""HTTP answers by which a catalog says that it did not apply the commit. A gateway's own 408 or 5xx is not among
them."""


@dataclass(frozen=True, slots=True)
class TableLook(Look):
    """A fresh table and the ledger that holds there; what an attempt is pinned to."""

    table: Table = field(repr=False, compare=False)
    head: int | None
    """Id of `main`'s snapshot; None where nothing was ever committed."""
    tag: int | None
    """Id of the snapshot with the ledger."""

    @property
    def committed_at_s(self) -> float | None:
        """When the ledger moved last, seconds since 1970-01-01; None where there is none."""
        snapshot = None if self.tag is None else self.table.metadata.snapshot_by_id(self.tag)
        return snapshot.timestamp_ms / 1000 if snapshot else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt."""

    outcome: Outcome
    snapshot_id: int | None
    """The id that the snapshot has, or would have; None where nothing was sent."""
    error: str = ""
    """Why it has not landed, or why that is not known: one line, no secret in it."""
    cause: NeptuneError | None = None
    """The error as Neptune's own, where a service is away or refuses access; None for a conflict."""
    after: TableLook | None = None
    """The table as the catalog's answer shows it. Good for the next commit as long as nobody else writes."""
    manifest_s: float = 0.0
    """Time for manifests and manifest list."""
    catalog_s: float = 0.0
    """Time for the catalog's answer."""
    objects_read: int = 0
    objects_written: int = 0
    bytes_written: int = 0
    """Metadata only: the data files were written before."""
    manifests: int = 0
    """Manifests of the new snapshot."""
    merged_entries: int = 0
    snapshots_expired: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be committed, and upon what."""

    table: str
    """The table's full name, for the messages."""
    look: TableLook
    files: Sequence[DataFile]
    ledger: Ledger
    summary: Mapping[str, str]
    """What the snapshot's summary holds beside Iceberg's own counts."""
    snapshots_max: int
    known_manifests: Sequence[ManifestFile] | None
    """Those of the look's head, where they are known already."""
    merger: Merger | None
    """What merges manifests; None where the commit leaves them as they are."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A snapshot whose manifests are stored; not sent yet."""

    snapshot: Snapshot
    manifests: list[ManifestFile]
    merged_entries: int
    expired: list[int]
    traffic: Traffic


def attempt(task: Task, faults: Faults) -> tuple[Attempt, list[ManifestFile] | None]:
    """Make one attempt; what came of it, and where it landed the manifests of the new snapshot."""
    began = time.monotonic()
    try:
        with faults.during(f"writing the manifests of {task.table}"):
            prepared = prepare(task)
    except (Unavailable, AccessDenied) as error:
        nothing_sent = Attempt(Outcome.REFUSED, None, error.primary, error, manifest_s=time.monotonic() - began)
        return nothing_sent, None
    sent = time.monotonic()
    outcome, trouble, answer = _send(task.look, prepared)
    answered = time.monotonic()
    result = Attempt(
        outcome=outcome,
        snapshot_id=prepared.snapshot.snapshot_id,
        error=faults.text(trouble) if trouble else "",
        cause=_cause(task.table, trouble, faults),
        after=_after(task, answer, prepared.snapshot.snapshot_id) if answer else None,
        manifest_s=sent - began,
        catalog_s=answered - sent,
        objects_read=prepared.traffic.objects_read,
        objects_written=prepared.traffic.objects_written,
        bytes_written=prepared.traffic.bytes_written,
        manifests=len(prepared.manifests),
        merged_entries=prepared.merged_entries,
        snapshots_expired=len(prepared.expired),
    )
    if answer is None:
        return result, None
    _remove_old_metadata(task.look.table, answer.metadata)
    return result, prepared.manifests


def prepare(task: Task) -> Prepared:
    """Write manifests and manifest list of the next snapshot."""
    table, metadata = task.look.table, task.look.table.metadata
    parent = metadata.snapshot_by_id(task.look.head) if task.look.head is not None else None
    writer = Writer(
        table=table,
        snapshot_id=metadata.new_snapshot_id(),
        sequence_number=metadata.next_sequence_number(),
        locations=table.location_provider(),
    )
    old = carried(_parent_manifests(task, parent, writer.traffic))
    merger = task.merger if _may_merge(metadata) else None
    merged = merger.step(writer, old, len(task.files)) if merger else Merged([], set(), 0)
    added = writer.add(task.files)
    kept = [manifest for manifest in old if manifest not in merged.replaced]
    path, named = writer.write_list([*added, *merged.new, *kept], task.look.head)
    if merger and added:
        merger.remember(added[0], task.files)
    now_ms = max(int(time.time() * 1000), metadata.last_updated_ms)  # a clock that runs behind must not be refused
    snapshot = Snapshot.model_validate(
        {
            "snapshot-id": writer.snapshot_id,
            "parent-snapshot-id": task.look.head,
            "sequence-number": writer.sequence_number,
            "timestamp-ms": now_ms,
            "manifest-list": path,
            "summary": _summary(task.files, task.summary, parent),
            "schema-id": metadata.current_schema_id,
        }
    )
    expired = history.expirable(metadata, now_ms=now_ms, snapshots_max=task.snapshots_max)
    return Prepared(snapshot, named, merged.entries, expired, writer.traffic)


def _send(look: TableLook, prepared: Prepared) -> tuple[Outcome, Exception | None, CommitTableResponse | None]:
    """Send the commit, once; what is known, why, and the answer where it landed."""
    snapshot_id = prepared.snapshot.snapshot_id
    try:
        answer = look.table.catalog.commit_table(look.table, requirements(look), updates(look, prepared))
    except Exception as error:  # noqa: BLE001 what cannot be told apart from "landed" is unknown
        return classify(error), error, None
    if _refs(answer.metadata) == (look.table.metadata.table_uuid, snapshot_id, snapshot_id):
        return Outcome.LANDED, None, answer
    return Outcome.UNKNOWN, RuntimeError("the answer does not show the new snapshot at main and at the tag"), None


def classify(error: Exception) -> Outcome:
    """What an exception out of `commit_table` means."""
    if isinstance(error, CommitStateUnknownException):
        return Outcome.UNKNOWN
    if isinstance(error, CommitFailedException) or http_status(error) in _NOT_APPLIED:
        return Outcome.REFUSED
    return Outcome.UNKNOWN


def requirements(look: TableLook) -> tuple[TableRequirement, ...]:
    """What must still be so when the commit arrives."""
    metadata = look.table.metadata
    pinned: list[TableRequirement] = [
        AssertTableUUID(uuid=metadata.table_uuid),
        AssertRefSnapshotId.model_validate({"ref": MAIN_BRANCH, "snapshot-id": look.head}),
        AssertCurrentSchemaId.model_validate({"current-schema-id": metadata.current_schema_id}),
        AssertDefaultSpecId.model_validate({"default-spec-id": metadata.default_spec_id}),
    ]
    if metadata.snapshots:  # a table without snapshots can have no tag, and PyIceberg refuses the question
        pinned.append(AssertRefSnapshotId.model_validate({"ref": TAG, "snapshot-id": look.tag}))
    return tuple(pinned)


def updates(look: TableLook, prepared: Prepared) -> tuple[TableUpdate, ...]:
    """What the commit changes. `main` keeps its retention settings; the tag has none, so that it is never expired."""
    snapshot_id = prepared.snapshot.snapshot_id
    main = look.table.metadata.refs.get(MAIN_BRANCH)
    retention = {
        "max-ref-age-ms": main.max_ref_age_ms if main else None,
        "max-snapshot-age-ms": main.max_snapshot_age_ms if main else None,
        "min-snapshots-to-keep": main.min_snapshots_to_keep if main else None,
    }
    changes: list[TableUpdate] = [
        AddSnapshotUpdate(snapshot=prepared.snapshot),
        _set_ref(MAIN_BRANCH, SnapshotRefType.BRANCH, snapshot_id, **retention),
        _set_ref(TAG, SnapshotRefType.TAG, snapshot_id),
    ]
    if prepared.expired:
        changes.append(RemoveSnapshotsUpdate.model_validate({"snapshot-ids": prepared.expired}))
    return tuple(changes)


def _set_ref(name: str, kind: SnapshotRefType, snapshot_id: int, **retention: int | None) -> SetSnapshotRefUpdate:
    ref = {"ref-name": name, "type": kind, "snapshot-id": snapshot_id}
    return SetSnapshotRefUpdate.model_validate({**ref, **retention})


def _remove_old_metadata(before: Table, after: TableMetadata) -> None:
    """Delete the metadata files that fell out of the log of a commit that landed, if the table's properties say so.

    A REST catalog does that itself. One that cannot be deleted stays: it harms nobody.
    """
    wanted = after.properties.get("write.metadata.delete-after-commit.enabled", "false").lower() == "true"
    if not wanted or not isinstance(before.catalog, MetastoreCatalog):
        return
    kept = {entry.metadata_file for entry in after.metadata_log}
    for entry in before.metadata.metadata_log:
        if entry.metadata_file not in kept:
            _try_delete(before, entry.metadata_file)


def _after(task: Task, answer: CommitTableResponse, snapshot_id: int) -> TableLook:
    old = task.look.table
    table = Table(old.name(), answer.metadata, answer.metadata_location, old.io, old.catalog, old.config)
    return TableLook(ledger=task.ledger, table=table, head=snapshot_id, tag=snapshot_id)


def _cause(table: str, error: Exception | None, faults: Faults) -> NeptuneError | None:
    if error is None or isinstance(error, CommitFailedException):
        return None
    return faults.translate(f"committing to {table}", error)


def _parent_manifests(task: Task, parent: Snapshot | None, traffic: Traffic) -> Sequence[ManifestFile]:
    if parent is None:
        return []
    if task.known_manifests is not None:
        return task.known_manifests
    traffic.objects_read += 1
    return parent.manifests(task.look.table.io)


def _try_delete(table: Table, path: str) -> None:
    try:
        table.io.delete(path)
    except OSError:
        return


def _refs(metadata: TableMetadata) -> tuple[object, int | None, int | None]:
    main, tag = metadata.refs.get(MAIN_BRANCH), metadata.refs.get(TAG)
    return metadata.table_uuid, main.snapshot_id if main else None, tag.snapshot_id if tag else None


def _may_merge(metadata: TableMetadata) -> bool:
    return metadata.properties.get("commit.manifest-merge.enabled", "true").lower() != "false"


def _summary(files: Sequence[DataFile], own: Mapping[str, str], parent: Snapshot | None) -> Summary:
    added = {
        "added-data-files": len(files),
        "added-records": sum(file.record_count for file in files),
        "added-files-size": sum(file.file_size_bytes for file in files),
        "changed-partition-count": len({file.day for file in files}),
    }
    counts = {name: str(count) for name, count in added.items() if count}
    before = parent.summary.additional_properties if parent and parent.summary else None
    return update_snapshot_summaries(Summary(Operation.APPEND, **counts, **own), before)
