"""Publishes to the consumer group how far the table is, so that ordinary lag tools tell the truth.

Nothing in Neptune reads these offsets (but for `NEPTUNE_START_FROM=group`, before the first commit): they follow the ledger, and a
failure to publish them costs nothing but the tool's picture.
"""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from neptune_flow.kafka.client import KafkaAddress, close
from neptune_flow.telemetry import get_logger

log = get_logger("neptune.kafka")

ANSWER_TIMEOUT_MS = 5000
"""An answer that takes longer is not waited for; the default would keep a process for 45 s when Kafka is away."""


class GroupOffsets:
    """The offsets of KAFKA_CONSUMER_GROUP; `publish` may be called after a commit, and only then."""

    def __init__(self, address: KafkaAddress) -> None:
        self._topic = address.topic
        self._group = address.group
        self._failing = False
        self._consumer = address.consumer(
            on_commit=self._answered,
            properties={
                "socket.timeout.ms": ANSWER_TIMEOUT_MS,
                "session.timeout.ms": ANSWER_TIMEOUT_MS + 1000,
                "heartbeat.interval.ms": 1000,
            },
        )

    def publish(self, offsets: Mapping[int, int]) -> None:
        """Send the next offset of each Kafka partition, without waiting for the answer."""
        positions = [TopicPartition(self._topic, p, offset) for p, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=positions, asynchronous=True)
            self._consumer.poll(0)
        except KafkaException as error:
            self._answered(error.args[0], positions)

    def close(self) -> None:
        """Wait for the last answers, for a while."""
        close(self._consumer)

    def _answered(self, error: KafkaError | None, _positions: list[TopicPartition]) -> None:
        if error is not None and not self._failing:
            tell_not_published(self._group, error)
        self._failing = error is not None


def tell_not_published(group: str, error: KafkaError) -> None:
    """Once, until it works again."""
    log.warning(
        "group_offsets_not_published",
        group=group,
        error=error.str(),
        effect="lag tools show an old position; the table is not affected",
    )
