"""A long history for a table that Neptune has begun: thousands of snapshots, as after as many commits, without making as many.

Each is a copy of the newest one with an id of its own, its ledger too, all in `main`'s line; the catalog is told of several hundred in one request. No data file and
no manifest comes of it: what a start has to read of a history is metadata.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate, TableUpdate

from bench.watch import table_of
from neptune_flow.ledger import TAG

SNAPSHOTS_PER_REQUEST = 250


def lengthen(environment: Mapping[str, str], snapshots: int) -> None:
    """Add snapshots until the table has so many."""
    reader = table_of(environment)
    assert reader is not None
    while (missing := snapshots - len((table := reader.load()).metadata.snapshots)) > 0:
        head = table.metadata.current_snapshot()
        assert head is not None
        updates: list[TableUpdate] = []
        number, parent = head.sequence_number or 0, head.snapshot_id
        for _ in range(min(missing, SNAPSHOTS_PER_REQUEST)):
            number += 1
            copied = head.model_dump(by_alias=True) | {
                "snapshot-id": table.metadata.new_snapshot_id(),
                "parent-snapshot-id": parent,
                "sequence-number": number,
            }
            snapshot = Snapshot.model_validate(copied)
            updates.append(AddSnapshotUpdate(snapshot=snapshot))
            parent = snapshot.snapshot_id
        for name, kind in ((MAIN_BRANCH, SnapshotRefType.BRANCH), (TAG, SnapshotRefType.TAG)):
            ref = {"ref-name": name, "type": kind, "snapshot-id": parent}
            updates.append(SetSnapshotRefUpdate.model_validate(ref))
        table.catalog.commit_table(table, (), tuple(updates))
