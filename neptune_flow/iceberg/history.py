"""A table's history as Neptune reads it: which ledger holds, and which snapshots may go.

Pure: table metadata in, values or a conflict out; no request is made here.

**Which ledger holds.** The tag names the snapshot with the newest ledger. It holds only if that snapshot is `main`'s
head or one of its ancestors, since only then are its rows in the table; foreign commits (compaction, deletes, other
writers) may sit on top. Where the way from the head down to it is cut, because somebody expired a snapshot in
between, the sequence numbers and the snapshot log are the evidence: every snapshot from the head down to the cut is
younger than the tag's, and `main` has not gone back to an older one since. A ledger above the tag, or one without a
tag, means that somebody moved or removed the tag: the ledger read would be too old, and messages would land twice.

**Which snapshots may go.** Only Neptune's own, only out of `main`'s ancestry, never the head that a commit is built
on, never one that a branch or tag holds (of another branch: with all its ancestors), and none if `gc.enabled` is
false. `history.expire.max-snapshot-age-ms` and `history.expire.min-snapshots-to-keep` decide, as properties of the
table or of `main` itself, where one of them is set; else the newest `snapshots_max` are kept. No file is deleted:
that is the work of the table's owner, who knows who reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot

from neptune_flow.errors import LedgerConflict
from neptune_flow.ledger import SUMMARY_KEY, TAG, Ledger, is_newer_format

EXPIRED_PER_COMMIT_MAX = 500
"""Snapshots that one commit removes, 0.2 s more than none: a long backlog, with which each commit is slow, is gone after a few
of them, and none becomes much slower for it."""

_MAX_AGE_MS = "history.expire.max-snapshot-age-ms"
_MIN_TO_KEEP = "history.expire.min-snapshots-to-keep"
_MAX_AGE_MS_DEFAULT = 5 * 24 * 60 * 60 * 1000
_MIN_TO_KEEP_DEFAULT = 1
"""Iceberg's own defaults, for the one of the two properties that is not set."""


MEND = "python -m neptune_flow ledger set --from"
"""The command that lands a ledger by hand; what follows says from where."""


@dataclass(frozen=True, slots=True)
class History:
    """What a table's metadata says of its ledger."""

    ledger: Ledger | None
    head: int | None
    """Id of `main`'s snapshot; None where nothing was ever committed."""
    tag: int | None
    """Id of the snapshot that the tag names."""


def read_history(table: str, metadata: TableMetadata) -> History:
    """The ledger that holds, with the refs that it was read from.

    Args:
        table: the table's full name, for the messages.

    Raises:
        LedgerConflict: the tag and `main` tell different stories; the hint has the command that mends it.
    """
    snapshots = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    main, ref = metadata.refs.get(MAIN_BRANCH), metadata.refs.get(TAG)
    head = main.snapshot_id if main else None
    above = list(_ancestry(snapshots, head))
    if ref is None:
        _refuse_lost_tag(table, above)
        return History(None, head, None)
    if ref.snapshot_ref_type != SnapshotRefType.TAG:
        raise LedgerConflict(
            f"table {table} has a branch named {TAG}",
            detail="Neptune keeps its ledger at a tag of that name",
            hint=f"rename the branch, then: ALTER TABLE {table} DROP BRANCH `{TAG}`",
        )
    tagged = snapshots[ref.snapshot_id]
    text = _ledger_text(tagged)
    if text is None:
        raise LedgerConflict(
            f"the tag {TAG} of table {table} names snapshot {tagged.snapshot_id}, which has no ledger",
            hint=_mend(above),
        )
    _refuse_stale_tag(table, metadata, snapshots, above, tagged)
    return History(Ledger.from_json(text), head, tagged.snapshot_id)


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is, whether or not it makes sense; for looking and mending by hand."""

    ledger: Ledger | None
    """The one that holds; where none does, the newest that can be read on `main`'s line."""
    snapshot: Snapshot | None
    """Of that ledger."""
    head: int | None
    tag: int | None
    problem: LedgerConflict | None
    """Why Neptune stops at this table; None where it does not."""
    is_mendable: bool
    """Whether a new ledger would mend it."""


def survey(table: str, metadata: TableMetadata) -> Survey:
    """What `read_history` finds, or why it objects and what is there all the same."""
    snapshots = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    main, ref = metadata.refs.get(MAIN_BRANCH), metadata.refs.get(TAG)
    head, tag = main.snapshot_id if main else None, ref.snapshot_id if ref else None
    try:
        ledger = read_history(table, metadata).ledger
        return Survey(ledger, snapshots.get(tag) if tag is not None else None, head, tag, None, is_mendable=True)
    except LedgerConflict as conflict:
        line = list(_ancestry(snapshots, head))
        ledger, found = next(((x, s) for s in line if (x := _readable(s)) is not None), (None, None))
        texts = [_ledger_text(s) or "" for s in snapshots.values()]
        is_branch = ref is not None and ref.snapshot_ref_type != SnapshotRefType.TAG
        is_mendable = not is_branch and not any(map(is_newer_format, texts))
        return Survey(ledger, found, head, tag, conflict, is_mendable)


def expirable(metadata: TableMetadata, *, now_ms: int, snapshots_max: int) -> list[int]:
    """Ids of the snapshots that a commit on top of `main` may remove, oldest first, at most EXPIRED_PER_COMMIT_MAX."""
    if metadata.properties.get("gc.enabled", "true").lower() == "false":
        return []
    snapshots = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    main = metadata.refs.get(MAIN_BRANCH)
    if main is None:
        return []
    line = list(_ancestry(snapshots, main.snapshot_id))
    max_age_ms = main.max_snapshot_age_ms or _number(metadata.properties, _MAX_AGE_MS)
    min_to_keep = main.min_snapshots_to_keep or _number(metadata.properties, _MIN_TO_KEEP)
    if max_age_ms is None and min_to_keep is None:
        old = [s for s in line if _ledger_text(s) is not None][max(snapshots_max - 1, 0) :]
    else:
        limit_ms = now_ms - (_MAX_AGE_MS_DEFAULT if max_age_ms is None else max_age_ms)
        kept = _MIN_TO_KEEP_DEFAULT if min_to_keep is None else min_to_keep
        old = [s for s in line[max(kept - 1, 0) :] if s.timestamp_ms < limit_ms and _ledger_text(s) is not None]
    held = _held(metadata, snapshots)
    free = [s.snapshot_id for s in old if s.snapshot_id not in held]
    return free[::-1][:EXPIRED_PER_COMMIT_MAX]


def _held(metadata: TableMetadata, snapshots: Mapping[int, Snapshot]) -> set[int]:
    """Snapshots that a ref holds. Neptune's own tag holds none: it moves in the commit that removes."""
    held: set[int] = set()
    for name, ref in metadata.refs.items():
        if ref.snapshot_ref_type == SnapshotRefType.BRANCH and name != MAIN_BRANCH:
            held.update(s.snapshot_id for s in _ancestry(snapshots, ref.snapshot_id))
        elif name != TAG:
            held.add(ref.snapshot_id)
    return held


def _refuse_lost_tag(table: str, line: list[Snapshot]) -> None:
    if any(_ledger_text(snapshot) is not None for snapshot in line):
        raise LedgerConflict(
            f"the tag {TAG} of table {table} has been removed",
            detail="without it nothing proves which ledger is the newest",
            hint=_mend(line),
        )


def _refuse_stale_tag(
    table: str, metadata: TableMetadata, snapshots: Mapping[int, Snapshot], line: list[Snapshot], tagged: Snapshot
) -> None:
    above: list[Snapshot] = []
    for snapshot in line:
        if snapshot.snapshot_id == tagged.snapshot_id:
            break
        above.append(snapshot)
    reached = len(above) < len(line)
    if not reached and not _is_cut_above(metadata, snapshots, above, tagged):
        raise LedgerConflict(
            f"table {table} was rolled back, or replaced: the snapshot with Neptune's ledger is no part of it any more",
            detail=f"tag {TAG} names snapshot {tagged.snapshot_id}, which main has left",
            hint=f"to undo it: CALL <catalog>.system.set_current_snapshot('{table}', {tagged.snapshot_id}); "
            f"to accept it: {_mend(line)}",
        )
    if any(_ledger_text(snapshot) is not None for snapshot in above):
        raise LedgerConflict(
            f"the tag {TAG} of table {table} has been moved back to an older ledger",
            detail=f"it names snapshot {tagged.snapshot_id}; main holds a newer ledger",
            hint=_mend(line),
        )


def _is_cut_above(
    metadata: TableMetadata, snapshots: Mapping[int, Snapshot], above: list[Snapshot], tagged: Snapshot
) -> bool:
    """Whether `main` descends from the tagged snapshot although a snapshot between them has been expired."""
    floor = tagged.sequence_number or 0
    if not above or any((snapshot.sequence_number or 0) <= floor for snapshot in above):
        return False
    log = [entry.snapshot_id for entry in metadata.snapshot_log]
    since = log[len(log) - log[::-1].index(tagged.snapshot_id) :] if tagged.snapshot_id in log else log
    numbers = [floor, *(snapshots[i].sequence_number or 0 for i in since if i in snapshots)]
    return all(older < younger for older, younger in pairwise(numbers))


def _mend(line: list[Snapshot]) -> str:
    """The command that lands a ledger again: from the newest on this line, or from what the rows hold if there is none."""
    return f"{MEND} {'ledger' if any(_ledger_text(s) is not None for s in line) else 'rows'}"


def _ancestry(snapshots: Mapping[int, Snapshot], start: int | None) -> Iterator[Snapshot]:
    """The snapshot and its ancestors, newest first, as far as they are known."""
    current = snapshots.get(start) if start is not None else None
    while current is not None:
        yield current
        parent = current.parent_snapshot_id
        current = snapshots.get(parent) if parent is not None else None


def _ledger_text(snapshot: Snapshot) -> str | None:
    return snapshot.summary.additional_properties.get(SUMMARY_KEY) if snapshot.summary else None


def _readable(snapshot: Snapshot) -> Ledger | None:
    try:
        return Ledger.from_json(_ledger_text(snapshot) or "")
    except LedgerConflict:
        return None


def _number(properties: Mapping[str, str], name: str) -> int | None:
    value = properties.get(name, "")
    return int(value) if value.lstrip("-").isdigit() else None
