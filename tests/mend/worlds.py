"""A topic in a string, landed in real tables by the real committer, with the rules of a real start; and what a person does about it.

Of a partition's log each letter is one offset: `r` becomes a row, `x` is refused, `.` is left out by Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from neptune_flow.iceberg import Lake, LakeTable
from neptune_flow.iceberg.mending import MendableTable
from neptune_flow.kafka import Topic
from neptune_flow.ledger import Ledger
from neptune_flow.mend.basis import Source, Wish
from neptune_flow.mend.describe import Facts, describe
from neptune_flow.mend.land import land
from neptune_flow.mend.plan import Plan
from neptune_flow.mend.prepare import prepare
from neptune_flow.mend.scene import Log, Seen, Tables
from neptune_flow.patience import Patience
from neptune_flow.records import DayBatch, Pile, Stretch
from neptune_flow.sink import Committer, KnownAtStart
from neptune_flow.spool import Spool, SpoolBudget
from neptune_flow.start import check_agreement, own_ledger, verdicts_ahead
from neptune_flow.validation.rejects import REJECTS_SCHEMA
from tests.iceberg.worlds import DAY, DAY_US, NAME, NAMESPACE, SCHEMA, open_lake, rows

QUARANTINE = f"{NAME}_quarantine"
PATIENCE = Patience(10.0)
Place = tuple[int, int]
"""Partition and offset."""


@dataclass
class Kafka:
    """The topic as it is now."""

    logs: dict[int, str]
    topic_id: str | None = "id-1"
    name: str = "sessions"
    low: dict[int, int] = field(default_factory=dict)
    """Where retention has got to; 0 where it has deleted nothing."""

    @property
    def log(self) -> Log:
        topic = Topic(self.name, self.topic_id, tuple(self.logs))
        return Log(topic, {p: (self.low.get(p, 0), len(text)) for p, text in self.logs.items()})

    def recreate(self, logs: dict[int, str]) -> None:
        self.logs, self.low = logs, {}
        self.topic_id = f"{self.topic_id}'" if self.topic_id else None


class Sea:
    """A lake in a folder and the topic that lands in it."""

    def __init__(self, folder: Path, logs: dict[int, str], *, kafka_columns: bool = True, start_at: int = 0) -> None:
        self.kafka = Kafka(logs)
        self.start_at = start_at
        self.lake: Lake = open_lake(folder)
        self._kafka_columns = kafka_columns
        self.ensure()

    def ensure(self) -> None:
        """Both tables, created where they are missing, as a start does."""
        columns = [f for f in SCHEMA if self._kafka_columns or f.name != "_kafka"]
        self.rows = self._table(NAME, pa.schema(columns), "event_date")
        self.quarantine = self._table(QUARANTINE, REJECTS_SCHEMA, "day")

    def drop(self, table: LakeTable) -> None:
        """Somebody drops a table; the next start creates it anew."""
        table.catalog.drop_table(table.identifier)
        self.ensure()

    def begin(self) -> Run:
        """What a start does once the worlds are open.

        Raises:
            LedgerConflict: Neptune would stop here.
        """
        topic = self.kafka.log.topic
        look = self.rows.look()
        ours = own_ledger(self.rows.name, look.ledger, topic)
        held_look = self.quarantine.look()
        theirs = own_ledger(self.quarantine.name, held_look.ledger, topic, "ledger" if ours.entries else "earliest")
        check_agreement(self.rows.name, ours, theirs)
        ahead = verdicts_ahead(self.quarantine, held_look, ours, theirs)
        return Run(self, ours, theirs, {p: set(offsets) for p, offsets in ahead.items()})

    def land_all(self) -> None:
        """A process that lands all there is."""
        run = self.begin()
        for partition, text in self.kafka.logs.items():
            run.take(partition, len(text))

    # By hand

    def seen(self) -> tuple[Seen, Seen]:
        tables = (MendableTable(self.rows), MendableTable(self.quarantine))
        rows_seen, quarantine_seen = (Seen(table, table.survey()) for table in tables)
        return rows_seen, quarantine_seen

    def plan(self, source: str, *, partitions: Sequence[int] = (), offsets: dict[int, int] | None = None) -> Plan:
        wish = Wish(Source(source), offsets or {}, frozenset(partitions))
        return prepare(wish, self.kafka.log, *self.seen(), PATIENCE)

    def set(self, source: str, *, partitions: Sequence[int] = (), offsets: dict[int, int] | None = None) -> Plan:
        """`neptune ledger set`, agreed to."""
        plan = self.plan(source, partitions=partitions, offsets=offsets)
        land(plan, *self.seen(), PATIENCE, 100)
        return plan

    def shown(self) -> Facts:
        """`neptune ledger show`."""
        return describe(Tables(*self.seen(), (self.rows.name, self.quarantine.name)), self.kafka.log, self.kafka.name)

    # What came of it

    @property
    def row_places(self) -> Counter[Place]:
        held = self.rows.to_arrow(["_kafka"]).column("_kafka").to_pylist()
        return Counter((k["partition"], k["offset"]) for k in held)

    @property
    def reject_places(self) -> Counter[Place]:
        held = self.quarantine.to_arrow(["partition", "offset"]).to_pylist()
        return Counter((k["partition"], k["offset"]) for k in held)

    def places(self, kind: str) -> Counter[Place]:
        """Where in the topic messages of this kind are."""
        return Counter((p, o) for p, text in self.kafka.logs.items() for o, k in enumerate(text) if k == kind)

    def assert_exact(self) -> None:
        """Each message is in its table once, and the ledger says so."""
        assert (self.row_places, self.reject_places) == (self.places("r"), self.places("x"))
        self.assert_true_totals()

    def assert_true_totals(self) -> None:
        """The ledger ends where the log ends, and counts what the tables hold below its numbers."""
        ledger = self.rows.read_ledger()
        assert ledger
        assert {p: e.next for p, e in ledger.entries.items()} == {p: len(t) for p, t in self.kafka.logs.items()}
        for p, e in ledger.entries.items():
            assert e.is_balanced
            held = [
                sum(n for (q, _), n in places.items() if q == p) for places in (self.row_places, self.reject_places)
            ]
            assert [e.rows, e.rejects] == held

    def _table(self, name: str, schema: pa.Schema, day_column: str) -> LakeTable:
        return self.lake.ensure_table(NAMESPACE, name, schema, day_column=day_column)


class Run:
    """One process, from its start on."""

    def __init__(self, sea: Sea, ours: Ledger, theirs: Ledger, held: dict[int, set[int]]) -> None:
        self._sea = sea
        self._held = held
        topic = sea.kafka.log.topic
        known = KnownAtStart(topic.name, topic.id, ours.entries, theirs.entries)
        budget = SpoolBudget(1 << 20)
        spools = Spool(sea.rows, "event_date", budget), Spool(sea.quarantine, "day", budget)
        self._committer = Committer(sea.rows, sea.quarantine, *spools, known, PATIENCE, lambda _offsets: None)
        self.positions = {p: ours.entries[p].next if p in ours.entries else sea.start_at for p in sea.kafka.logs}

    def take(self, partition: int, end: int, *, crash_after_quarantine: bool = False) -> None:
        """Read up to `end` and commit; or end between the quarantine's commit and the rows'."""
        first, low = self.positions[partition], self._sea.kafka.low.get(partition, 0)
        text, held = self._sea.kafka.logs[partition], self._held.get(partition, set())
        offsets = [o for o in range(max(first, low), end) if o not in held]
        good, bad = ([o for o in offsets if text[o] == kind] for kind in "rx")
        before = sum(o in held for o in range(max(first, low), end))
        stretch = Stretch(
            partition,
            first,
            end,
            row_count=len(good),
            reject_count=len(bad),
            refused_before=before,
            left_out=sum(text[o] == "." for o in offsets),
            lost=max(0, min(low, end) - first),
            watermark=DAY * DAY_US + end,
            rows=_pile(rows_at(partition, good, kafka_columns="_kafka" in self._sea.rows.load().schema().column_names)),
            rejects=_pile(rejects_at(partition, bad)),
        )
        if crash_after_quarantine:
            self._committer._land_rows = _crash  # type: ignore[method-assign, assignment]
        self._committer.write_batch([stretch])
        self._committer.snapshot()
        self.positions[partition] = end


class Crash(BaseException):
    """The process is gone."""


def _crash(stretches: Sequence[Stretch], pile: Pile) -> None:
    if any(s.next > s.first for s in stretches):
        raise Crash


def rows_at(partition: int, offsets: Sequence[int], *, kafka_columns: bool = True) -> pa.RecordBatch:
    """Good messages as rows."""
    batches = pa.Table.from_batches([rows(o, 1, partition=partition) for o in offsets], SCHEMA)
    kept = batches if kafka_columns else batches.drop_columns(["_kafka"])
    return pa.RecordBatch.from_struct_array(kept.to_struct_array().combine_chunks())


def rejects_at(partition: int, offsets: Sequence[int]) -> pa.RecordBatch:
    """Bad messages as rejects."""
    reason = {"field": None, "kind": "json_invalid", "message": "not JSON"}
    one = {"topic": "sessions", "partition": partition, "headers": [], "reasons": [reason], "contract": "c", "day": DAY}
    return pa.RecordBatch.from_pylist([{**one, "offset": o} for o in offsets], schema=REJECTS_SCHEMA)


def _pile(batch: pa.RecordBatch) -> Pile:
    return Pile(tail=(DayBatch(DAY, batch),)) if batch.num_rows else Pile()
