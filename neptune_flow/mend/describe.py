"""The ledgers side by side with Kafka's log, and everything at which a start would stop; as values that JSON can hold.

What is wrong never hinders the looking: each objection is caught and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from neptune_flow.errors import LedgerConflict, NeptuneError
from neptune_flow.kafka import Topic
from neptune_flow.ledger import SET_KEY, Ledger
from neptune_flow.mend.scene import Log, Seen, Tables
from neptune_flow.start import check_agreement, own_ledger, verdicts_ahead

Facts = dict[str, Any]


def describe(tables: Tables, log: Log | None, topic: str) -> Facts:
    """What there is: `tables`, `kafka` and `problems`.

    Args:
        log: None where Kafka was not reached.
        topic: the name of the one that is to be landed.
    """
    return {
        "tables": {"rows": _table(tables.rows), "quarantine": _table(tables.quarantine)},
        "kafka": _kafka(log),
        "problems": [_told(p) for p in _problems(tables, log, topic)],
    }


def _table(seen: Seen | None) -> Facts | None:
    if seen is None:
        return None
    at, ledger, snapshot = seen.at, seen.at.ledger, seen.at.snapshot
    summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    return {
        "name": seen.table.name,
        "head": at.head,
        "tag": at.tag,
        "ledger_snapshot": snapshot.snapshot_id if snapshot else None,
        "committed_at": instant(snapshot.timestamp_ms * 1000) if snapshot else None,
        "set_by_hand": summary.get(SET_KEY),
        **(_ledger(ledger) if ledger else {"partitions": {}}),
    }


def _ledger(ledger: Ledger) -> Facts:
    return {
        "topic": ledger.topic,
        "topic_id": ledger.topic_id,
        "began_after": ledger.began_after,
        "cuts": [cut._asdict() for cut in ledger.cuts],
        "watermark_least": instant(ledger.watermark_least),
        "partitions": {
            str(p): {**asdict(e), "watermark": instant(e.watermark), "event_time_max": instant(e.event_time_max)}
            for p, e in sorted(ledger.entries.items())
        },
    }


def _kafka(log: Log | None) -> Facts | None:
    if log is None:
        return None
    ranges = {str(p): {"first": low, "end": high} for p, (low, high) in sorted(log.ranges.items())}
    return {"topic": log.topic.name, "topic_id": log.topic.id, "partitions": ranges}


def _problems(tables: Tables, log: Log | None, topic: str) -> Iterator[NeptuneError]:
    histories = [seen.at.problem for seen in (tables.rows, tables.quarantine) if seen and seen.at.problem]
    yield from histories
    try:
        rows, quarantine = tables.both()
    except LedgerConflict as missing:
        yield missing
        return
    if histories:
        return
    ours = rows.at.ledger or Ledger("", None)
    yield from _unbalanced(rows, ours)
    try:
        _as_at_the_start(rows, quarantine, log.topic if log else Topic(topic, None, ()))
    except LedgerConflict as conflict:
        yield conflict
    else:
        yield from _beyond(rows, ours, log)


def _as_at_the_start(rows: Seen, quarantine: Seen, topic: Topic) -> None:
    """Ask what `start` asks.

    Raises:
        LedgerConflict: it would stop.
    """
    ours = own_ledger(rows.table.name, rows.at.ledger, topic)
    theirs = own_ledger(quarantine.table.name, quarantine.at.ledger, topic, "ledger" if ours.entries else "earliest")
    check_agreement(rows.table.name, ours, theirs)
    verdicts_ahead(quarantine.table, quarantine.at.look, ours, theirs)


def _unbalanced(rows: Seen, ledger: Ledger) -> Iterator[NeptuneError]:
    wrong = [p for p, entry in sorted(ledger.entries.items()) if not entry.is_balanced]
    if wrong:
        yield LedgerConflict(
            f"table {rows.table.name}: the ledger's totals do not make up its offsets in partitions {wrong}",
            hint="python -m neptune_flow ledger set --from ledger counts them again",
        )


def _beyond(rows: Seen, ledger: Ledger, log: Log | None) -> Iterator[NeptuneError]:
    for partition, (_, high) in log.ranges.items() if log else ():
        entry = ledger.entries.get(partition)
        if entry and entry.next > high:
            yield LedgerConflict(
                f"partition {partition} ends at offset {high}, but table {rows.table.name} has taken offsets up to {entry.next}",
                hint="if the log was cut: python -m neptune_flow ledger set --from ledger; "
                "if the topic was created anew: python -m neptune_flow ledger set --from earliest",
            )
            return


def _told(error: NeptuneError) -> dict[str, str]:
    return {"what": error.primary, "detail": error.detail, "hint": error.hint}


def instant(time_us: int | None) -> str | None:
    """ISO 8601, UTC."""
    return None if time_us is None else f"{np.datetime64(time_us, 'us')}Z"
