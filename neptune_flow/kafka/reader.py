"""One Kafka consumer for all partitions of one worker; what it polls becomes batches of contiguous offsets.

Per partition the reader holds a position: the offset after the last batch it made. Each batch begins there, so batches of a
partition join without a hole. Kafka delivers a partition's messages in ascending offset order; offsets missing between
position and the next message are ones that Kafka leaves out (transaction markers, aborted and compacted records), and
belong to the message after them. At the end of a partition Kafka's EOF event names the next offset, which accounts for those
left out at the tail.

When retention has deleted the position, Kafka answers "offset out of range" (never a silent jump: `auto.offset.reset=error`). What
lies below the log's first offset is lost: counted, logged as an error, and passed on as part of a batch, so that the ledger says it.
A position above the log's end means another topic of the same name: that stops.

That a partition is idle is said by an empty batch too, behind all that was read before (`idleness`).

The client hands over the partitions' messages mixed. They wait in runs, one per partition, until a run is worth a batch
(`poll_messages_max`), the client has no more, or POLL_BYTES_MAX wait: each step after this one costs by the batch.

Limits: POLL_BYTES_MAX bounds what waits in runs, `prefetch_bytes_max` what the client holds ahead, `inflight_bytes_max` what
has been emitted and not yet collected (the next steps may run on another worker, and within one epoch nothing else holds the
source back).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

from neptune_flow.errors import AccessDenied, LedgerConflict
from neptune_flow.kafka.client import KafkaAddress, close, error_of
from neptune_flow.kafka.idleness import IdleWatch
from neptune_flow.kafka.outage import OutageWatch
from neptune_flow.kafka.topic import OUT_OF_RANGE, log_range
from neptune_flow.records import MessageBatch
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import Vitals

log = get_logger("neptune.kafka")

CALL_MESSAGES_MAX = 200
"""One call to the client: larger ones leave the processor's cache (942k messages/s at 200, 690k at 20,000)."""

CALL_BYTES_MAX = 2 << 20
"""Large messages are taken in smaller calls: about so many bytes, by the size of those before."""

POLL_BYTES_MAX = 8 << 20
"""So many bytes of messages may wait to become batches."""

LOG_END_INTERVAL_S = 1.0
"""So often the client is asked what it has heard of the log's end, for the vitals; it answers from memory."""


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """See the module's head and the settings of the same names."""

    poll_messages_max: int
    prefetch_bytes_max: int
    inflight_bytes_max: int
    outage_s_max: float
    """How long all brokers may be away while running."""
    idle_timeout_s: float
    """After so long without a message a partition is idle."""
    message_bytes: int = 0
    """What a message in flight counts beside its value."""


class Progress:
    """How far the collectors of this process have come, per Kafka partition; written by them, read by readers."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self.collected_at_s = time.monotonic()

    def collected(self, partition: int, next_offset: int) -> None:
        self._next[partition] = next_offset
        self.collected_at_s = time.monotonic()

    def next_of(self, partition: int) -> int:
        return self._next.get(partition, 0)


@dataclass(slots=True)
class ReadFrom:
    """Where the reading of one partition begins."""

    partition: int
    offset: int
    is_start: bool = False
    """The ledger does not know this partition yet."""
    refused_before: Collection[int] = ()
    """Offsets at or above `offset` that the quarantine already holds."""
    reading: str | None = None
    """What the ledgers said of the partition; handed on with its first batch."""


@dataclass(slots=True)
class _Part:
    """One partition's position, and the batches that wait to be taken."""

    position: int
    refused_before: deque[int]
    """Ascending."""
    waiting: deque[MessageBatch] = field(default_factory=deque)
    log_end: int = 0
    """When the reading began: what lies below has waited."""
    collected: int = 0
    """All that was emitted below this offset has been collected, or its epoch has passed every step."""
    epoch_end: int = 0
    """What was emitted below this offset was so in epochs that have ended for this partition."""

    def pass_refused(self, next_offset: int) -> set[int]:
        """The verdicts below this offset, which are passed now; they stand also where Kafka has deleted the message since."""
        passed = set()
        while self.refused_before and self.refused_before[0] < next_offset:
            passed.add(self.refused_before.popleft())
        return passed


class Reader:
    """Reads the partitions that were added; all calls come from one thread."""

    def __init__(
        self,
        address: KafkaAddress,
        limits: ReaderLimits,
        progress: Progress,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        vitals: Vitals | None = None,
    ) -> None:
        self._address = address
        self._limits = limits
        self._progress = progress
        self._clock_s = clock_s
        self._parts: dict[int, _Part] = {}
        self._to_assign: list[TopicPartition] = []
        self._runs: dict[int, list[Any]] = {}
        self._run_bytes = 0
        self._bytes_per_message = 500.0
        self._vitals = vitals or Vitals()
        self._idleness = IdleWatch(address, limits.idle_timeout_s, clock_s)
        self._outage = OutageWatch(address, limits.outage_s_max, clock_s, self._vitals)
        self._log_end_at_s = clock_s()
        self.is_drained = False  # the client had no more when it was asked last
        prefetch_kbytes = max(1024, limits.prefetch_bytes_max >> 10)
        self._consumer: Consumer = address.consumer(
            error_cb=self._on_error, properties={"queued.max.messages.kbytes": prefetch_kbytes}
        )

    def add(self, start: ReadFrom) -> None:
        """Read one partition more; its first batch is an empty one that says where it begins.

        Raises:
            LedgerConflict: the offset lies beyond the end of the log.
            Unavailable, AccessDenied: the broker did not answer.
        """
        part = _Part(start.offset, deque(sorted(start.refused_before)), collected=start.offset)
        self._parts[start.partition] = part
        at = start.offset
        hello = MessageBatch(start.partition, at, at, (), _NO_OFFSETS, (), start=start.is_start, reading=start.reading)
        part.waiting.append(hello)
        self._idleness.heard(start.partition)
        self._jump_over_deleted(start.partition, part)
        self._to_assign.append(TopicPartition(self._address.topic, start.partition, part.position))

    def take(self, partition: int) -> list[MessageBatch]:
        """The partition's batches, after a poll if none waits; may be empty."""
        part = self._parts[partition]
        part.collected = max(part.collected, part.epoch_end)
        if not part.waiting:
            with self._vitals.spending("read"):
                self._poll()
        batches = list(part.waiting)
        part.waiting.clear()
        return batches

    def position(self, partition: int) -> int:
        """The offset after the last batch that was taken."""
        part = self._parts[partition]
        return part.waiting[0].first if part.waiting else part.position

    def epoch_ended(self, partition: int) -> None:
        """Bytewax asks for more of a partition only when its epoch before has passed every step; other partitions' may not have."""
        self._parts[partition].epoch_end = self.position(partition)

    def remove(self, partition: int) -> None:
        """The partition's reading ends; the client closes with the last one."""
        del self._parts[partition]
        self._idleness.forget(partition)
        if not self._parts:
            close(self._consumer)

    # Polling

    def _hear_log_ends(self) -> None:
        """What the client has heard of the logs' ends with its fetches; -1001 where nothing yet."""
        if self._clock_s() < self._log_end_at_s:
            return
        self._log_end_at_s = self._clock_s() + LOG_END_INTERVAL_S
        for partition in self._parts:
            where = TopicPartition(self._address.topic, partition)
            _, high = self._consumer.get_watermark_offsets(where, cached=True)
            if high >= 0:
                self._vitals.partition(partition).log_end = high

    def _poll(self) -> None:
        if self._to_assign:
            self._consumer.incremental_assign(self._to_assign)
            self._to_assign = []
        self._hear_log_ends()
        if self._is_full():
            return
        taken = taken_bytes = 0
        messages: Sequence[Any] = ()
        while taken_bytes < POLL_BYTES_MAX and not self._is_any_run_long():
            messages = self._consumer.consume(self._call_messages(), 0)
            if not messages:
                break
            taken += len(messages)
            taken_bytes += sum(map(len, messages))
            self._sort(messages)
        self.is_drained = not messages
        self._run_bytes += taken_bytes
        self._vitals.taken(taken_bytes)
        if taken:
            # Upward at once, downward slowly: the limits below are about the worst.
            mean_bytes = taken_bytes / taken
            self._bytes_per_message = max(mean_bytes, 0.9 * self._bytes_per_message + 0.1 * mean_bytes, 1.0)
        self._outage.after_poll(self._consumer, is_silent=not taken)
        self._accept_runs(all_of_them=self.is_drained or self._run_bytes >= POLL_BYTES_MAX)
        if self.is_drained and not self._outage.is_known:
            for partition in self._idleness.find(lambda p: self._parts[p].position):
                part = self._parts[partition]
                idle = MessageBatch(partition, part.position, part.position, (), _NO_OFFSETS, (), idle=True)
                part.waiting.append(idle)

    def _call_messages(self) -> int:
        return max(1, min(CALL_MESSAGES_MAX, int(CALL_BYTES_MAX / self._bytes_per_message)))

    def _is_any_run_long(self) -> bool:
        return any(len(run) >= self._limits.poll_messages_max for run in self._runs.values())

    def _accept_runs(self, *, all_of_them: bool) -> None:
        """Long runs become batches; short ones too, once the client's queue is empty or their bytes are many."""
        for partition in list(self._runs):
            if all_of_them or len(self._runs[partition]) >= self._limits.poll_messages_max:
                self._accept(partition, self._runs.pop(partition))
        if all_of_them:
            self._run_bytes = 0

    def _is_full(self) -> bool:
        inflight = sum(
            part.position - max(part.collected, self._progress.next_of(p)) for p, part in self._parts.items()
        )
        return inflight * (self._bytes_per_message + self._limits.message_bytes) > self._limits.inflight_bytes_max

    def _sort(self, messages: Sequence[Any]) -> None:
        """To the runs of their partitions; the client hands over a partition's messages one after another, many at a time."""
        errors = [m.error() for m in messages]
        if any(errors):
            self._sort_with_events(messages)
            return
        start = 0
        for partition, same in groupby([m.partition() for m in messages]):
            stop = start + sum(1 for _ in same)
            self._runs.setdefault(partition, []).extend(messages[start:stop])
            start = stop

    def _sort_with_events(self, messages: Sequence[Any]) -> None:
        for message in messages:
            error, partition = message.error(), message.partition()
            if error is None:
                self._runs.setdefault(partition, []).append(message)
                continue
            if self._is_end_of_run(error, partition, message.offset()):
                continue
            if partition in self._runs:
                self._accept(partition, self._runs.pop(partition))
            self._on_partition_event(error, partition, message.offset())

    def _is_end_of_run(self, error: KafkaError, partition: int, offset: int) -> bool:
        """Kafka's EOF just behind the run in hand says nothing new; near the log's end it comes after every few messages."""
        run = self._runs.get(partition)
        return error.code() == KafkaError._PARTITION_EOF and run is not None and run[-1].offset() + 1 == offset

    def _move(self, partition: int, part: _Part, position: int) -> None:
        part.position = position
        self._idleness.heard(partition)

    def _accept(self, partition: int, run: Sequence[Any]) -> None:
        part = self._parts.get(partition)
        if part is None:
            return
        first, last = run[0].offset(), run[-1].offset()
        if first < part.position:
            # What was fetched before a seek.
            run = [m for m in run if m.offset() >= part.position]
            if not run:
                return
            first = run[0].offset()
        if last - first + 1 == len(run):
            offsets = np.arange(first, last + 1, dtype=np.int64)
        else:
            offsets = np.fromiter((m.offset() for m in run), np.int64, len(run))
        begins, passed = part.position, part.pass_refused(last + 1)
        if passed:
            run, offsets = _without(run, offsets, passed)
        self._move(partition, part, last + 1)
        part.waiting.append(
            MessageBatch(
                partition=partition,
                first=begins,
                next=last + 1,
                messages=run,
                offsets=offsets,
                values=[m.value() for m in run],
                left_out=last + 1 - begins - len(run) - len(passed),
                refused_before=len(passed),
                start=begins < part.log_end <= last + 1,
            )
        )

    # Events that are no messages

    def _on_partition_event(self, error: KafkaError, partition: int, offset: int) -> None:
        part = self._parts.get(partition)
        if part is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            self._accept_end(partition, part, offset)
        elif error.code() in OUT_OF_RANGE:
            self._jump_over_deleted(partition, part)
            self._consumer.incremental_unassign([TopicPartition(self._address.topic, partition)])
            self._consumer.incremental_assign([TopicPartition(self._address.topic, partition, part.position)])
        else:
            self._on_error(error)

    def _accept_end(self, partition: int, part: _Part, offset: int) -> None:
        if offset > part.position:
            begins, refused = part.position, len(part.pass_refused(offset))
            end = MessageBatch(partition, begins, offset, (), _NO_OFFSETS, (), refused_before=refused)
            part.waiting.append(replace(end, left_out=offset - begins - refused, start=begins < part.log_end <= offset))
            self._move(partition, part, offset)

    def _jump_over_deleted(self, partition: int, part: _Part) -> None:
        low, high = log_range(self._consumer, self._address, partition)
        part.log_end = self._vitals.partition(partition).log_end = high
        if part.position > high:
            raise LedgerConflict(
                f"partition {partition} of topic {self._address.topic} ends at offset {high}, "
                f"but the table has taken offsets up to {part.position}",
                detail="the topic was re-created or truncated, or the table belongs to another cluster",
                hint="restore the topic, or land this one in a table of its own (ICEBERG_TABLE); or go on in this one, "
                "if the log was cut at its end: python -m neptune_flow ledger set --from ledger; "
                "if the topic was created anew: python -m neptune_flow ledger set --from earliest",
            )
        if part.position < low:
            refused = len(part.pass_refused(low))
            lost = low - part.position - refused
            log.error(
                "offsets_lost",
                partition=partition,
                first=part.position,
                next=low,
                lost=lost,
                reason="Kafka's retention deleted them before they were read",
            )
            part.waiting.append(
                MessageBatch(partition, part.position, low, (), _NO_OFFSETS, (), lost=lost, refused_before=refused)
            )
            self._move(partition, part, low)

    def _on_error(self, error: KafkaError) -> None:
        problem = error_of(error, self._address, "reading")
        if isinstance(problem, AccessDenied):
            raise problem
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._outage.begin(error.str())
        elif error.code() not in (KafkaError._TRANSPORT, KafkaError._RESOLVE):
            log.warning("kafka_error", error=error.name(), detail=error.str())


_NO_OFFSETS = np.empty(0, dtype=np.int64)


def _without(run: Sequence[Any], offsets: Any, refused: set[int]) -> tuple[list[Any], Any]:
    keep = np.fromiter((int(o) not in refused for o in offsets), np.bool_, len(offsets))
    return [m for m, k in zip(run, keep, strict=True) if k], offsets[keep]
