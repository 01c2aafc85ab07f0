"""This process's membership in the consumer group: which Kafka partitions are its to land, and when it must hand them over.

    broker ─► on_assign ─► begin_round ─► the flow over these partitions
    broker ─► on_revoke ─► the round is told to drain; the answer to the broker waits until it has, for `drain_s_max` at most

A client of its own is the member. It fetches nothing (its partitions are paused): the flow reads through its own client, from the ledger. It is polled
in a thread of its own, and its heartbeats are the client's. The protocol is cooperative: who keeps its partitions goes on undisturbed while others
change theirs.

What is exact does not rest on this. The group only sees to it that two processes seldom read the same partition; if they do (a member that was
frozen for longer than its session, a drain that took too long), the fence and the pin of `protocol` let one of them land, and stop the other.

A flow that is stuck must not keep its partitions: `is_alive` is asked before each poll, and who is not polled for `max.poll.interval.ms` leaves the
group. A process that is dead or frozen sends no heartbeats, and is replaced after `session_timeout_s`.

While no round is under way nobody else of the process asks whether brokers are there, so the member does, and gives up after `outage_s_max`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from neptune_flow.errors import AccessDenied, NeptuneError, Superseded, Unavailable
from neptune_flow.kafka.client import KafkaAddress, close, error_of
from neptune_flow.kafka.group_offsets import PublishAnswers
from neptune_flow.kafka.outage import OutageWatch
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import Vitals

log = get_logger("neptune.group")

POLL_S = 0.2
SETTLED_S = 0.5
"""A rebalance often comes in two steps; a round begins once nothing has changed for so long."""

METADATA_INTERVAL_MS = 10_000
"""After so long the client finds out that the topic has more partitions, and the group shares them out."""

_REPLACED = frozenset({KafkaError._FENCED, KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID})
"""How a static member is told that another process has its name; nothing else is fatal to a member."""

_REFUSED = frozenset(
    {KafkaError.INCONSISTENT_GROUP_PROTOCOL, KafkaError.INVALID_SESSION_TIMEOUT, KafkaError.INVALID_GROUP_ID}
)
"""A group that does not take this process; it asks again and again."""

_IN_REBALANCE = frozenset(
    {KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID}
)
"""Offsets that come while the group shares its partitions out: they are sent again for those that this member keeps."""


class Membership:
    """One member of KAFKA_CONSUMER_GROUP."""

    def __init__(
        self,
        address: KafkaAddress,
        *,
        instance_id: str,
        session_timeout_s: float,
        drain_s_max: float,
        outage_s_max: float,
        is_alive: Callable[[], bool] = lambda: True,
        vitals: Vitals | None = None,
    ) -> None:
        """Nothing is asked before `join`.

        Args:
            instance_id: of a static member, which may leave and come back within its session without moving a partition; empty for another.
            session_timeout_s: without a heartbeat for so long the member is dead.
            drain_s_max: how long a round may take to end before its partitions are handed over all the same.
            outage_s_max: how long all brokers may be away while no round is under way.
            is_alive: whether the flow moves.
            vitals: is told of such an outage.
        """
        self._address = address
        self._drain_s_max = drain_s_max
        self._is_alive = is_alive
        self._changed = threading.Condition()
        self._assigned: frozenset[int] = frozenset()
        self._changed_at_s = time.monotonic()
        self._round: threading.Event | None = None
        self._failure: NeptuneError | None = None
        self._leaving = threading.Event()
        self._told: set[int] = set()
        self._to_publish: dict[int, int] = {}
        self._answers = PublishAnswers(address.group)
        self._outage = OutageWatch(address, outage_s_max, time.monotonic, vitals or Vitals())
        self._consumer: Consumer = address.consumer(
            error_cb=self._on_error,
            on_commit=self._on_published,
            properties={
                "client.id": "neptune-member",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": round(session_timeout_s * 1000),
                "heartbeat.interval.ms": round(min(3.0, session_timeout_s / 3) * 1000),
                "max.poll.interval.ms": round((max(session_timeout_s, drain_s_max) + 15) * 1000),
                "topic.metadata.refresh.interval.ms": METADATA_INTERVAL_MS,
                **({"group.instance.id": instance_id} if instance_id else {}),
            },
        )
        self._thread = threading.Thread(target=self._poll, name="group", daemon=True)

    def join(self) -> None:
        """Ask for a share of the topic's partitions."""
        self._consumer.subscribe(
            [self._address.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self._thread.start()

    def begin_round(self, stopping: threading.Event) -> tuple[tuple[int, ...], threading.Event] | None:
        """Wait for partitions; returns them, and the event that tells their flow to drain. None: a stop came first.

        Raises:
            Superseded: another process has taken this member's `instance_id`.
            AccessDenied: the credentials do not allow the group.
            Unavailable: all brokers have been away for too long.
        """
        with self._changed:
            while not stopping.is_set():
                if self._failure:
                    raise self._failure
                settled_in_s = self._changed_at_s + SETTLED_S - time.monotonic()
                if self._assigned and settled_in_s <= 0:
                    self._round = threading.Event()
                    return tuple(sorted(self._assigned)), self._round
                self._changed.wait(max(settled_in_s, POLL_S) if self._assigned else POLL_S)
        return None

    def end_round(self) -> None:
        """The flow has drained, or failed: its partitions may be handed over."""
        with self._changed:
            self._round = None
            self._changed.notify_all()

    def stop_round(self) -> None:
        """Tell the flow of this round, if there is one, to drain."""
        if (now := self._round) is not None:
            now.set()

    def publish(self, offsets: Mapping[int, int]) -> None:
        """Let lag tools know the next offset of each partition, soon: Kafka takes it from the member alone, and the client from one thread at a time."""
        with self._changed:
            self._to_publish.update(offsets)

    def leave(self) -> None:
        """Give the partitions back (a static member keeps them for its session); bounded in time."""
        self.end_round()
        self._leaving.set()
        self._thread.join(2 * POLL_S + self._drain_s_max)
        self._publish()
        close(self._consumer)

    # The member's thread

    def _poll(self) -> None:
        while not self._leaving.is_set():
            if not self._is_alive():
                self._leaving.wait(POLL_S)
                continue
            try:
                event = self._consumer.poll(POLL_S)
                if event is not None and (error := event.error()) is not None:
                    self._on_error(error)
            except KafkaException as failed:
                self._on_error(failed.args[0])
            self._look_for_brokers()
            self._publish()

    def _look_for_brokers(self) -> None:
        if self._round is not None:
            return
        try:
            self._outage.after_poll(self._consumer, is_silent=True)
        except Unavailable as away:
            self._fail(away)

    def _publish(self) -> None:
        with self._changed:
            offsets, self._to_publish = self._to_publish, {}
        if not offsets:
            return
        try:
            positions = [TopicPartition(self._address.topic, p, offset) for p, offset in offsets.items()]
            self._consumer.commit(offsets=positions, asynchronous=True)
        except KafkaException as error:
            self._on_published(error.args[0], [])

    def _on_published(self, error: KafkaError | None, positions: list[TopicPartition]) -> None:
        if error is not None and error.code() in _REPLACED:
            self._on_error(error)
        elif error is not None and error.code() in _IN_REBALANCE:
            with self._changed:
                kept = {p.partition: p.offset for p in positions if p.partition in self._assigned}
                self._to_publish = {**kept, **self._to_publish}
        else:
            self._answers(error, positions)

    def _on_assign(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        paused = [TopicPartition(p.topic, p.partition, OFFSET_END) for p in parts]
        consumer.incremental_assign(paused)
        if paused:
            consumer.pause(paused)
        self._change(self._assigned | {p.partition for p in parts})
        if parts:
            log.info("partitions_assigned", partitions=_numbers(parts), now=sorted(self._assigned))
            self.stop_round()

    def _on_revoke(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        self._hand_over(consumer, parts)
        log.info("partitions_revoked", partitions=_numbers(parts), now=sorted(self._assigned))

    def _on_lost(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        self._hand_over(consumer, parts)
        log.warning(
            "partitions_lost",
            partitions=_numbers(parts),
            now=sorted(self._assigned),
            reason="no heartbeat for longer than the session, or the topic is gone",
        )

    def _hand_over(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        under_way = self._round
        self._change(self._assigned - {p.partition for p in parts})
        self.stop_round()
        with self._changed:
            if not self._changed.wait_for(lambda: under_way is None or self._round is not under_way, self._drain_s_max):
                log.warning(
                    "handed_over_undrained",
                    limit_s=self._drain_s_max,
                    effect="who gets the partitions reads again what was not committed; nothing is lost or doubled",
                )
        self._publish()
        consumer.incremental_unassign(list(parts))

    def _change(self, assigned: frozenset[int]) -> None:
        with self._changed:
            self._assigned = assigned
            self._changed_at_s = time.monotonic()
            self._changed.notify_all()

    def _on_error(self, error: KafkaError) -> None:
        failure = error_of(error, self._address, f"being a member of group {self._address.group}")
        is_replaced = error.code() in _REPLACED
        if is_replaced:
            failure = Superseded(
                f"another process is the member of group {self._address.group} that this one was",
                detail=error.str(),
                hint="give each process a NEPTUNE_GROUP_INSTANCE_ID of its own, or none",
            )
        if is_replaced or error.fatal() or isinstance(failure, AccessDenied):
            self._fail(failure)
        elif error.code() in _REFUSED and error.code() not in self._told:
            self._told.add(error.code())
            log.warning(
                "member_refused",
                group=self._address.group,
                error=error.str(),
                hint="end other kinds of consumers of this group, or name another (KAFKA_CONSUMER_GROUP); nothing lands until the group takes this process",
            )

    def _fail(self, failure: NeptuneError) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()
        self.stop_round()


def _numbers(parts: Sequence[TopicPartition]) -> list[int]:
    return sorted(p.partition for p in parts)
