"""The route, wired as a Bytewax dataflow.

    Kafka partition ─► messages ─► judge ─► by partition ─► collect ─► commit
                       (source)    (rows │ rejects)         (windows,   (quarantine first, then rows,
                                                             spools)     at the end of each epoch)

messages     KafkaSource: one part a Kafka partition; items are message batches, never single messages
judge        the contract's verdict: a batch splits into rows and rejects, both as columns; they stay in one item because a stretch of
             offsets is committed whole, and the two would have to be joined again at the commit
by partition the key is the Kafka partition's number: state grows with partitions, not with windows or devices
collect      Collector: watermark, windows, spool; emits a stretch when a commit is due
commit       CommitSink: one partition for all workers

Nothing here decides; it hands each step what it needs. Building the flow reads settings and contract but no network; the first step that a
worker runs does (`start`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from neptune_flow.cluster import cluster_addresses, option
from neptune_flow.collect import CollectLimits, Collector, CollectorState
from neptune_flow.group import Round
from neptune_flow.kafka import GroupOffsets, KafkaSource, Progress, Reader, ReaderLimits, TopicWatch
from neptune_flow.patience import Patience
from neptune_flow.process import Lifecycle
from neptune_flow.records import Judged, MessageBatch
from neptune_flow.settings import Settings
from neptune_flow.sink import CommitSink, Committer
from neptune_flow.spool import Spool, SpoolBudget
from neptune_flow.start import QUARANTINE_DAY, PatientFiles, Start
from neptune_flow.telemetry.traces import Traces
from neptune_flow.vitals import KAFKA, Held

BASE_BYTES = 192 << 20
"""What the interpreter and its libraries take before the first message."""

MESSAGE_BYTES = 1 << 10
"""What the client and the interpreter hold for a message beside its value. Not counted in a cluster: there the limit of messages in flight is
that of a whole epoch's, since collectors in another process cannot tell how far they are."""

RECOVERY_TAIL_BYTES_MAX = 16 << 20
"""With a recovery store the tails are pickled into it at the end of each epoch: 100 MB of them cost 0.5 to 1.5 s every time."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How NEPTUNE_MEMORY_BYTES_MAX is shared; what is left is for the batch that is judged and the file that is written."""

    spool_bytes_max: int
    inflight_bytes_max: int
    prefetch_bytes_max: int

    @classmethod
    def of(cls, memory_bytes_max: int, *, has_recovery_store: bool) -> MemoryPlan:
        free = memory_bytes_max - BASE_BYTES
        spool = min(free // 5, RECOVERY_TAIL_BYTES_MAX) if has_recovery_store else free // 5
        return cls(spool, free // 10, free // 10)


class Budgets:
    """One spool budget for each worker thread of this process, which share the plan's bytes evenly."""

    def __init__(self, bytes_max: int, memory_bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._memory_bytes_max = memory_bytes_max
        self._worker = threading.local()
        self._all: list[SpoolBudget] = []
        self._lock = threading.Lock()

    def of_this_worker(self) -> SpoolBudget:
        if not hasattr(self._worker, "budget"):
            with self._lock:
                self._worker.budget = SpoolBudget(self._bytes_max, self._memory_bytes_max)
                self._all.append(self._worker.budget)
                for each in self._all:
                    each.bytes_max = self._bytes_max // len(self._all)
        budget: SpoolBudget = self._worker.budget
        return budget

    def held(self) -> Held:
        """By all workers of this process together."""
        return Held(sum(budget.held_bytes for budget in tuple(self._all)), self._bytes_max)


def build(
    settings: Settings, lifecycle: Lifecycle, traces: Traces | None = None, this: Round | None = None
) -> Dataflow:
    """The dataflow for these settings; it drains once the lifecycle says so, or the round is to end.

    Args:
        traces: takes each commit as a trace.
        this: the round whose start it has, and so its partitions; without one, all of the topic's.

    Raises:
        ContractError: the contract cannot be loaded or cannot become a table.
    """
    start = this.start if this else Start.of(settings, lifecycle)
    steps = _Steps(settings, start, lifecycle, traces, this)

    dataflow = Dataflow("neptune")
    messages = op.input("messages", dataflow, steps.source())
    judged = op.flat_map_batch("judge", messages, steps.judge)
    stretches = op.stateful_batch("collect", judged, steps.collector)
    op.output("commit", stretches, CommitSink(steps.committer))
    return dataflow


class _Steps:
    """Makes the steps of the flow, each on the worker that runs it."""

    def __init__(
        self,
        settings: Settings,
        start: Start,
        lifecycle: Lifecycle,
        traces: Traces | None,
        this: Round | None,
    ) -> None:
        self._settings = settings
        self._event_date = start.contract.event_date
        self._validator = start.validator
        self._address = start.address
        self._start = start
        self._this = this
        self._is_alone = this is not None or not cluster_addresses()
        self._stopping = this.ending if this else lifecycle.stopping
        self._vitals = vitals = lifecycle.vitals
        recovery = option("-r", "--recovery-directory", "BYTEWAX_RECOVERY_DIRECTORY")
        self._plan = MemoryPlan.of(settings.memory_bytes_max, has_recovery_store=recovery is not None)
        self._progress = Progress()
        self._budgets = Budgets(self._plan.spool_bytes_max, settings.memory_bytes_max)
        vitals.held["spool_bytes"] = self._budgets.held
        self._traces = traces
        self._patience = Patience(settings.retry_s_max, denied_too=True, vitals=vitals)
        self._limits = CollectLimits(
            settings.window_s,
            settings.allowed_lateness_s,
            settings.commit_age_s_max,
            settings.commit_rows_max,
        )

    def source(self) -> KafkaSource:
        limits = ReaderLimits(
            self._settings.kafka.poll_messages_max,
            self._plan.prefetch_bytes_max,
            self._plan.inflight_bytes_max,
            self._settings.retry_s_max,
            self._settings.idle_timeout_s,
            MESSAGE_BYTES if self._is_alone else 0,
        )
        starting = Patience(self._settings.retry_s_max, self._stopping, denied_too=True, vitals=self._vitals)
        return KafkaSource(
            partitions=lambda: self._start().partitions,
            begin=lambda partition, position: self._start().read_from(partition, position),
            make_reader=lambda: Reader(self._address, limits, self._progress, vitals=self._vitals),
            bound_to=lambda: self._start().bound_to,
            stopping=self._stopping,
            patiently=lambda ask: starting.call(KAFKA, ask),
            quiet_s=self._quiet_s if self._is_alone else lambda: 0.0,
        )

    def _quiet_s(self) -> float:
        return time.monotonic() - self._progress.collected_at_s

    def judge(self, batches: list[MessageBatch]) -> Iterable[tuple[str, Judged]]:
        return [(str(b.partition), self._judge(b)) for b in batches]

    def _judge(self, batch: MessageBatch) -> Judged:
        with self._vitals.spending("validate"):
            judged = self._validator.judge(batch, time.time_ns() // 1000)
        self._vitals.judged(batch, judged)
        if self._traces:
            self._traces.links.look(batch)
        return judged

    def collector(self, state: CollectorState | tuple[str, bytes] | None) -> Collector:
        return Collector(
            self._limits,
            lambda p: self._start().resume(p),
            self._spools,
            state,
            collected=self._progress.collected,
            vitals=self._vitals,
        )

    def committer(self) -> Committer:
        landing = self._start()
        rows, rejects = self._spools()
        publish, close = self._group_offsets()
        return Committer(
            landing.rows_table,
            landing.quarantine,
            rows,
            rejects,
            landing.known(),
            self._patience,
            publish,
            verify=TopicWatch(self._address, landing.topic).check,
            close=close,
            vitals=self._vitals,
            tracing=self._traces.commit if self._traces else nullcontext,
        )

    def _group_offsets(self) -> tuple[Callable[[Mapping[int, int]], None], Callable[[], None]]:
        """How offsets are published after a commit, and how that ends."""
        if self._this is not None:
            return self._this.publish, lambda: None
        group_offsets = GroupOffsets(self._address)
        return group_offsets.publish, group_offsets.close

    def _spools(self) -> tuple[Spool, Spool]:
        landing, budget = self._start(), self._budgets.of_this_worker()
        return (
            Spool(PatientFiles(landing.rows_table, self._patience, self._vitals), self._event_date, budget),
            Spool(PatientFiles(landing.quarantine, self._patience, self._vitals), QUARANTINE_DAY, budget),
        )
