"""What a history must have come to, whatever happened in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.simulation.history import History
from tests.simulation.kafka import Kind
from tests.simulation.table import Landed

ALLOWED = {Kind.GOOD: {"rows"}, Kind.BAD: {"quarantine"}, Kind.DISPUTED: {"rows", "quarantine"}, Kind.LEFT_OUT: set()}


def complaints(history: History) -> Iterator[str]:
    """Names what is lost, a twin, skipped or strange, or was wrong for a moment (`History`); nothing if all is well."""
    yield from history.world.wrong
    landed = [(t.name, row) for t in history.tables for row in t.content()]
    yield from (f"twin: {row} landed {n} times" for row, n in Counter(row for _, row in landed).items() if n > 1)
    for table in history.tables:
        yield from (f"gone: {path}, which {table.name} names" for path in sorted(table.missing_files()))
        topic_ids = {f"id-{row.generation}" for row in table.content()}
        if table.ledger and table.ledger.topic_id and not topic_ids <= {table.ledger.topic_id}:
            yield f"mixed: {table.name} is of topic {table.ledger.topic_id} and holds {sorted(topic_ids)}"
    if history.is_left_rolled_back:
        return
    for p in history.kafka.logs:
        yield from _of_partition(history, p, {row.offset: name for name, row in landed if row.partition == p})


def _of_partition(history: History, p: int, landed: dict[int, str]) -> Iterator[str]:
    ledger, kafka = history.rows.ledger, history.kafka
    entry = ledger.entries.get(p) if ledger else None
    log, low = kafka.of_topic(ledger.topic_id if ledger else None, p)
    if entry is None:
        yield from [] if history.is_stopped else [f"skip: partition {p} of {len(log)} messages has no ledger"]
        return
    must_end = history.is_stopped or entry.next == len(log)
    if not entry.is_balanced or entry.first not in kafka.starts[p] or not must_end or entry.next > len(log):
        yield f"skip: partition {p} of {len(log)} messages: {entry}"
        return
    taken = {
        name: _offsets(t.taken_away, p) for name, t in (("rows", history.rows), ("quarantine", history.quarantine))
    }
    passed = range(entry.first, entry.next)
    excused = taken["rows"] | taken["quarantine"] | {o for o in passed if log[o].value in kafka.compacted}
    absent = [o for o in passed if ALLOWED[log[o].kind] and o not in landed and o not in excused]
    yield from (f"lost: {p}/{o}" for o in absent if o >= low)
    if len(absent) > entry.lost:
        yield f"lost: {absent} of partition {p}, of which the ledger knows {entry.lost}"
    yield from (f"strange: {p}/{o} in {t}" for o, t in landed.items() if o in passed and t not in ALLOWED[log[o].kind])
    yield from (f"strange: {p}/{o} is not in the ledger" for o, t in landed.items() if t == "rows" and o not in passed)
    for name, counted in (("rows", entry.rows), ("quarantine", entry.rejects)):
        found = sum(t == name and o in passed for o, t in landed.items())
        if not found <= counted <= found + len(taken[name]):
            yield f"strange: {name} holds {found} of partition {p}, the ledger says {counted}"


def _offsets(rows: set[Landed], partition: int) -> set[int]:
    return {row.offset for row in rows if row.partition == partition}
