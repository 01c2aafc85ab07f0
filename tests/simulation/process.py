"""A simulated deployment of Neptune: one process with some workers, or a cluster of processes; the real parts, wired as `pipeline` wires them.

    KafkaSource (Reader) ─► verdict ─► Collector (Spool) ─► Committer ─► LakeTable
          ▲                simulated        ▲
          └──────── Start, once a process ──┘

Bytewax is what is left out: `epoch` does what it promises. Every item of an epoch reaches the sink before the sink's `snapshot`; the sources and
collectors are asked for their state before that, and a recovery store may give back any of it, of any epoch, finished or not.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa

from neptune_flow.collect import CollectLimits, Collector
from neptune_flow.kafka import GroupOffsets, KafkaSource, Progress, Reader, ReaderLimits, TopicWatch
from neptune_flow.kafka.source import KafkaPart
from neptune_flow.patience import Patience
from neptune_flow.process import Lifecycle
from neptune_flow.records import Judged, MessageBatch, Stretch
from neptune_flow.sink import Committer
from neptune_flow.spool import Spool, SpoolBudget
from neptune_flow.start import QUARANTINE_DAY, PatientFiles, Start
from neptune_flow.vitals import ServiceName
from tests.simulation.kafka import Kind, Message, Record, SimAddress, SimKafka
from tests.simulation.table import SimLakeTable, SimTable
from tests.simulation.world import PAUSE, World

T = TypeVar("T")

US = 1_000_000
DAY_US = 86_400 * US
LIMITS = CollectLimits(60, 10, 120, 8)
SPOOL_BYTES_MAX = 150
READER_LIMITS = ReaderLimits(4, 1 << 20, 1 << 20, 60.0, 30.0)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the recovery store keeps of one Kafka partition at the end of one epoch, pickled."""

    position: bytes
    state: bytes


Store = list[Mapping[int, Kept]]
"""Of each epoch, the oldest first."""


@dataclass(frozen=True)
class Deployment:
    """How Neptune is started."""

    partitions: Sequence[int]
    workers: int
    is_cluster: bool
    """Each worker is a process, and reads the tables for itself at its start."""
    contract: int
    start_from: str
    retry_s_max: float
    """0: the first outage ends the process; else none does."""


class Pause(threading.Event):
    """What a patient process waits for: nothing, but others come first."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def wait(self, timeout: float | None = None) -> bool:
        self._world.effect(PAUSE)
        return self.is_set()


class EagerPatience(Patience):
    """The real one, asked only where there is something to wait for: it costs ten times what a simulated answer costs."""

    def call(self, service: ServiceName, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except self._waits_for as first:
            outage = [first]

        def ask_again() -> T:
            if outage:
                raise outage.pop()
            return ask()

        return super().call(service, ask_again)


class SimStart(Start):
    """The real start, but for how a table is opened."""

    def __init__(self, kafka: SimKafka, tables: Sequence[SimTable], deployment: Deployment) -> None:
        settings = SimpleNamespace(
            catalog=SimpleNamespace(table=tables[0].name),
            quarantine_table=tables[1].name,
            start_wait_s_max=deployment.retry_s_max,
            kafka=SimpleNamespace(start_from=deployment.start_from),
        )
        lifecycle = Lifecycle()
        lifecycle.stopping = Pause(kafka.world)
        super().__init__(
            cast(Any, settings),
            cast(Any, SimpleNamespace(name="contract", event_date="event_date")),
            cast(Any, SimpleNamespace(rows_schema="rows", rejects_schema="rejects")),
            cast(Any, SimAddress(kafka)),
            lifecycle,
        )
        self._patience = EagerPatience(deployment.retry_s_max, lifecycle.stopping)
        self._tables = {t.name: t for t in tables}

    def _open_lake(self) -> Any:
        return None

    def _table(self, lake: Any, name: str, schema: pa.Schema, day_column: str) -> SimLakeTable:
        return self._patience.call("catalog", lambda: SimLakeTable(self._tables[name]))


class Worker:
    """One worker: its source, its budget, and its process's start."""

    def __init__(self, kafka: SimKafka, start: Start, clock_s: Callable[[], float], partitions: Sequence[int]) -> None:
        address: Any = SimAddress(kafka)
        self.start = start
        self.progress = Progress()
        self.budget = SpoolBudget(SPOOL_BYTES_MAX)
        self.source = KafkaSource(
            partitions=lambda: partitions,
            begin=lambda partition, position: start().read_from(partition, position),
            make_reader=lambda: Reader(address, READER_LIMITS, self.progress, clock_s=clock_s),
            bound_to=lambda: start().bound_to,
            stopping=threading.Event(),
        )

    def spools(self, patience: Patience) -> tuple[Spool, Spool]:
        landing = self.start()
        return (
            Spool(PatientFiles(landing.rows_table, patience), "event_date", self.budget),
            Spool(PatientFiles(landing.quarantine, patience), QUARANTINE_DAY, self.budget),
        )


class Neptune:
    """One run of a deployment."""

    def __init__(
        self,
        kafka: SimKafka,
        tables: Sequence[SimTable],
        deployment: Deployment,
        restored: Mapping[int, Kept],
        keep: Callable[[Mapping[int, Kept]], None] | None,
    ) -> None:
        """Opened by the first `epoch`; `keep` is the recovery store, if there is one."""
        self._kafka, self._tables, self._deployment = kafka, tables, deployment
        self._world, self._restored, self._keep = kafka.world, restored, keep
        self._opened_s = kafka.world.now_s
        self._patience = EagerPatience(deployment.retry_s_max, Pause(self._world), denied_too=True)
        self._parts: dict[int, KafkaPart] = {}
        self._collectors: dict[int, Collector] = {}

    def open(self) -> None:
        """As the engine makes its steps."""
        deployed, kafka = self._deployment, self._kafka
        partitions, count = deployed.partitions, deployed.workers
        starts = [SimStart(kafka, self._tables, deployed) for _ in range(count if deployed.is_cluster else 1)]
        workers = [Worker(kafka, starts[n % len(starts)], self._clock_s, partitions) for n in range(count)]
        for p in partitions:
            kept = self._restored.get(p)
            part = workers[p % count].source.build_part("", str(p), pickle.loads(kept.position) if kept else None)  # noqa: S301
            self._parts[p] = part
            self._collectors[p] = self._collector(workers[(p + 1) % count], kept)
        committing = workers[self._world.dice.below(count)]
        landing = committing.start()
        address: Any = SimAddress(kafka)
        self._committer = Committer(
            landing.rows_table,
            landing.quarantine,
            *committing.spools(self._patience),
            landing.known(),
            self._patience,
            GroupOffsets(address).publish,
            verify=TopicWatch(address, landing.topic).check,
        )

    def _collector(self, worker: Worker, kept: Kept | None) -> Collector:
        return Collector(
            LIMITS,
            lambda p: worker.start().resume(p),
            lambda: worker.spools(self._patience),
            pickle.loads(kept.state) if kept else None,  # noqa: S301 - our own
            collected=worker.progress.collected,
            clock_s=self._clock_s,
        )

    def epoch(self) -> None:
        """Read a little; then the barrier."""
        dice = self._world.dice
        self._world.now_s += dice.pick([1, 15, 45])
        for p, part in self._parts.items():
            judged = [self._judge(b) for b in part.next_batch()]
            collector = self._collectors[p]
            self._emit(collector.on_batch(judged)[0] if judged else collector.on_notify()[0])
        self._barrier()

    def read_all(self) -> None:
        """All there is; for a calm world."""
        while sum(self._read(p) for p in self._parts):
            pass

    def drain(self) -> None:
        """As after a signal: what is held is emitted and landed."""
        for collector in self._collectors.values():
            self._emit(collector.on_eof()[0])
        self._barrier()

    def _read(self, partition: int) -> int:
        judged = [self._judge(b) for b in self._parts[partition].next_batch()]
        self._emit(self._collectors[partition].on_batch(judged)[0])
        return len(judged)

    def _barrier(self) -> None:
        positions = {p: part.snapshot() for p, part in self._parts.items()}
        if self._keep:
            self._keep(
                {p: Kept(pickle.dumps(positions[p]), pickle.dumps(c.snapshot())) for p, c in self._collectors.items()}
            )
        self._committer.snapshot()

    def _clock_s(self) -> float:
        return self._world.now_s - self._opened_s

    def _emit(self, stretches: object) -> None:
        self._committer.write_batch(list(cast(Sequence[Stretch], stretches)))

    def _judge(self, batch: MessageBatch) -> Judged:
        records = [r for m in cast(Sequence[Message], batch.messages) if (r := m.record)]
        rows = [r for r in records if not self._refuses(r)]
        return Judged(
            batch.partition,
            batch.first,
            batch.next,
            _columns(rows, "event_date"),
            np.array([r.event_time for r in rows], np.int64),
            _columns([r for r in records if self._refuses(r)], QUARANTINE_DAY),
            left_out=batch.left_out,
            idle=batch.idle,
            refused_before=batch.refused_before,
            lost=batch.lost,
            start=batch.start,
            reading=batch.reading,
        )

    def _refuses(self, record: Record) -> bool:
        return record.kind is Kind.BAD or (record.kind is Kind.DISPUTED and self._deployment.contract % 2 == 0)


def _columns(records: Sequence[Record], day_column: str) -> pa.RecordBatch:
    if not records:
        return _EMPTY[day_column]
    values = pa.array([r.value for r in records], pa.string())
    days = pa.array([r.event_time // DAY_US for r in records], pa.date32())
    return pa.RecordBatch.from_arrays([values, days], ["value", day_column])


_EMPTY = {
    day: pa.RecordBatch.from_arrays([pa.array([], pa.string()), pa.array([], pa.date32())], ["value", day])
    for day in ("event_date", QUARANTINE_DAY)
}
