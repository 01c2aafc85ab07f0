"""Neptune's Bytewax source: one part for each Kafka partition, resuming from the table's ledger.

Unit of parallelism: the Kafka partition. Delivery guarantee: at least once by itself, with batches that join; the ledger and the
pinned commit make it exactly once. A recovery store's position is used only where it can join the ledger (`resume`).

All parts of one worker share one consumer (64 partitions are 64 parts and one client).

Rest. The engine's loop turns a thousand times a second even where nothing is due, which takes 3 % of a core. So where a process has had nothing to do for
QUIET_S, its workers sleep in here, REST_S at a time: the engine's timers are late by so much, and a stop ends it at once. A worker without messages of its own
does not rest while others are busy: it may have their work to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from neptune_flow.kafka.reader import Reader, ReadFrom
from neptune_flow.records import MessageBatch

IDLE_WAIT_MS = 20
"""How long a part waits once the client has no more: the price is latency, the gain batches that are worth their cost."""

QUIET_S = 1.0
REST_S = 0.2
"""See the module's head."""

QUIET_WAIT_MS = 250
"""How long a part waits whose worker another part lets rest; its messages wait in the reader meanwhile."""


class Position(NamedTuple):
    """What the recovery store keeps of one part; stored as a plain pair, which every version of Neptune can read."""

    bound_to: str
    next: int

    def __reduce__(self) -> tuple[type[tuple[str, int]], tuple[tuple[str, int]]]:
        return tuple, ((self.bound_to, self.next),)


class KafkaSource(FixedPartitionedSource[MessageBatch, Position]):
    """The topic's partitions as Bytewax parts, named by their number."""

    def __init__(
        self,
        partitions: Callable[[], Iterable[int]],
        begin: Callable[[int, Position | None], ReadFrom],
        make_reader: Callable[[], Reader],
        bound_to: Callable[[], str],
        stopping: threading.Event,
        quiet_s: Callable[[], float] = lambda: 0.0,
        patiently: Callable[[Callable[[], None]], None] = lambda ask: ask(),
    ) -> None:
        """Nothing is opened here: the first call on a worker does.

        Args:
            partitions: numbers of the topic's partitions; waits for the topic.
            begin: where a partition's reading begins, given what the recovery store says.
            make_reader: a reader for one worker.
            bound_to: identity of the tables and columns that rows are made for; another one's position is not used.
            stopping: once set, every part ends, which drains the flow.
            quiet_s: how long this process has had nothing to do; always 0 in a cluster, whose processes wait for each other when an epoch ends.
            patiently: asks again while Kafka is away.
        """
        self._partitions = partitions
        self._begin = begin
        self._make_reader = make_reader
        self._bound_to = bound_to
        self._stopping = stopping
        self._quiet_s = quiet_s
        self._patiently = patiently
        self._worker = threading.local()

    def list_parts(self) -> list[str]:
        return [str(p) for p in self._partitions()]

    def build_part(self, step_id: str, for_part: str, resume_state: Position | None) -> KafkaPart:
        if not hasattr(self._worker, "reader"):
            self._worker.reader = self._make_reader()
            self._worker.rest = Rest(self._stopping, self._quiet_s)
        reader: Reader = self._worker.reader
        partition = int(for_part)
        begins = self._begin(partition, Position(*resume_state) if resume_state else None)
        self._patiently(lambda: reader.add(begins))
        return KafkaPart(reader, partition, self._bound_to(), self._stopping, self._worker.rest)


class Rest:
    """Lets one worker sleep, always in the same part while it lasts."""

    def __init__(
        self,
        stopping: threading.Event,
        quiet_s: Callable[[], float],
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stopping = stopping
        self._quiet_s = quiet_s
        self._clock_s = clock_s
        self._woke_at_s = 0.0
        self._in_partition = -1

    def wait_ms(self, partition: int) -> int:
        """How long the part of a partition without messages waits for its next turn; if a rest is due, after it."""
        if self._quiet_s() < QUIET_S:
            return IDLE_WAIT_MS
        # Between two rests the other steps have their turn.
        if self._clock_s() - self._woke_at_s > IDLE_WAIT_MS / 2000:
            self._stopping.wait(REST_S)
            self._woke_at_s = self._clock_s()
            self._in_partition = partition
        return IDLE_WAIT_MS if partition == self._in_partition else QUIET_WAIT_MS


class KafkaPart(StatefulSourcePartition[MessageBatch, Position]):
    """One Kafka partition."""

    def __init__(self, reader: Reader, partition: int, bound_to: str, stopping: threading.Event, rest: Rest) -> None:
        self._reader = reader
        self._partition = partition
        self._bound_to = bound_to
        self._stopping = stopping
        self._rest = rest
        self._awake_at: datetime | None = None

    def next_batch(self) -> list[MessageBatch]:
        if self._stopping.is_set():
            raise StopIteration
        # The engine counts the wait from now too: a rest is not part of it.
        asked_at = datetime.now(UTC)
        batches = self._reader.take(self._partition)
        wait_ms = self._rest.wait_ms(self._partition) if not batches else IDLE_WAIT_MS if self._reader.is_drained else 0
        self._awake_at = asked_at + timedelta(milliseconds=wait_ms) if wait_ms else None
        return batches

    def next_awake(self) -> datetime | None:
        return self._awake_at

    def snapshot(self) -> Position:
        self._reader.epoch_ended(self._partition)
        return Position(self._bound_to, self._reader.position(self._partition))

    def close(self) -> None:
        self._reader.remove(self._partition)
