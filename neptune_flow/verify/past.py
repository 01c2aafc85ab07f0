"""What a table's snapshots tell of its past: whether the ledger ever ran back, and who else has removed rows. Pure.

Between two of Neptune's commits no number of the ledger gets smaller, no watermark runs back, no partition goes. The one exception is a commit
by which a person has set the ledger: its summary has SET_KEY, and a new run begins with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from neptune_flow.errors import LedgerConflict
from neptune_flow.iceberg import SnapshotInfo
from neptune_flow.ledger import SET_KEY, SUMMARY_KEY, Entry, Ledger
from neptune_flow.verify.report import Fault, Kind

DELETIONS_MAX = 3
"""So many of the newest deletions by others are named."""

_GROWING = ("next", "rows", "rejects", "left_out", "lost", "late", "watermark", "event_time_max")


def judge_past(table: str, line: Sequence[SnapshotInfo]) -> Iterator[Fault]:
    """What cannot have happened between these snapshots, oldest first."""
    before: Ledger | None = None
    for snapshot in line:
        text = snapshot.summary.get(SUMMARY_KEY)
        if text is None:
            continue
        try:
            ledger = Ledger.from_json(text)
        except LedgerConflict as error:
            yield Fault(Kind.STRANGE, table, f"snapshot {snapshot.snapshot_id}: {error.primary}")
            continue
        if before is not None and SET_KEY not in snapshot.summary:
            yield from _between(table, snapshot.snapshot_id, before, ledger)
        before = ledger


def deletions(line: Sequence[SnapshotInfo]) -> str:
    """In words, which snapshots of other programs have removed rows; empty where none has."""
    found = [f"snapshot {s.snapshot_id} ({s.operation}, {_moment(s)}, {n:,} rows)" for s in line if (n := _removed(s))]
    if not found:
        return ""
    more = f" and {len(found) - DELETIONS_MAX} more" if len(found) > DELETIONS_MAX else ""
    return f"another program has removed rows: {', '.join(found[-DELETIONS_MAX:])}{more}"


def _between(table: str, snapshot: int, old: Ledger, new: Ledger) -> Iterator[Fault]:
    if (old.topic, old.topic_id or new.topic_id) != (new.topic, new.topic_id or old.topic_id):
        yield Fault(Kind.STRANGE, table, f"snapshot {snapshot}: the ledger became another topic's")
    if _ran_back(old.watermark_least, new.watermark_least):
        yield Fault(Kind.SKIP, table, f"snapshot {snapshot}: the least watermark ran back")
    for partition, entry in old.entries.items():
        now = new.entries.get(partition)
        for what in ["the partition left the ledger"] if now is None else _changes(entry, now):
            yield Fault(Kind.SKIP, table, f"snapshot {snapshot}: {what}", partition)


def _changes(old: Entry, new: Entry) -> Iterator[str]:
    if old.first != new.first:
        yield f"first changed from {old.first} to {new.first}"
    for name in _GROWING:
        before, after = getattr(old, name), getattr(new, name)
        if _ran_back(before, after):
            yield f"{name} ran back from {before} to {after}"


def _ran_back(old: int | None, new: int | None) -> bool:
    return old is not None and (new is None or new < old)


def _removed(snapshot: SnapshotInfo) -> int:
    """Rows fewer after a commit that is not Neptune's. A compaction removes as many as it adds."""
    if SUMMARY_KEY in snapshot.summary:
        return 0
    removed = _count(snapshot, "deleted-records") + _count(snapshot, "added-position-deletes")
    return max(removed - _count(snapshot, "added-records"), 0)


def _count(snapshot: SnapshotInfo, name: str) -> int:
    text = snapshot.summary.get(name, "")
    return int(text) if text.isdigit() else 0


def _moment(snapshot: SnapshotInfo) -> str:
    return f"{datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
