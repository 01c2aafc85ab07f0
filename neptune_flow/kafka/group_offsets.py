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
        self._answers = PublishAnswers(address.group)
        self._consumer = address.consumer(
            on_commit=self._answers,
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
            self._answers(error.args[0], positions)

    def close(self) -> None:
        """Wait for the last answers, for a while."""
        close(self._consumer)


class PublishAnswers:
    """Hears Kafka's answers to published offsets: of failures in a row the first is logged."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._failing = False

    def __call__(self, error: KafkaError | None, _positions: list[TopicPartition]) -> None:
        if error is not None and not self._failing:
            log.warning(
                "group_offsets_not_published",
                group=self._group,
                error=error.str(),
                effect="lag tools show an old position; the table is not affected",
            )
        self._failing = error is not None
