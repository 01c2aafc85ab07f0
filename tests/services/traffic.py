"""Messages into Kafka, and a memory of every one that Kafka took: what the oracle compares the tables with.

A message counts as sent when Kafka has acknowledged it, with the partition and offset that Kafka gave it. No table and no
process of Neptune may be touched here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from neptune_flow.kafka.produce import Outgoing
from neptune_flow.simulator import Fleet, SimulatedMessage

_ANSWER_S_MAX = 30.0
_TICK_S = 0.02
Headers = tuple[tuple[str, bytes], ...]


class Note(NamedTuple):
    """A message to send; what must become of it is `refusal`: the kind of its reason, or None for a row."""

    value: bytes | None
    key: bytes | None = None
    timestamp_ms: int = 0
    """0 means now."""
    headers: Headers = ()
    refusal: str | None = None


class Sent(NamedTuple):
    """A message that Kafka has taken."""

    partition: int
    offset: int
    value: bytes | None
    key: bytes | None
    timestamp_ms: int
    headers: Headers
    refusal: str | None


class Traffic:
    """The producer of one topic.

    Args:
        properties: librdkafka's, over the defaults.
    """

    def __init__(self, bootstrap: str, topic: str, **properties: object) -> None:
        config: dict[str, Any] = {
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "partitioner": "murmur2_random",
            "error_cb": lambda _error: None,
            "log_level": 0,
            **properties,
            "bootstrap.servers": bootstrap,
        }
        self.producer = Producer(config)
        self.bootstrap = bootstrap
        self.topic = topic
        self.sent: list[Sent] = []
        """What Kafka has acknowledged; grows while a load runs."""
        self._failures: list[KafkaError] = []

    def send(self, messages: Iterable[Note | Outgoing], *, partition: int = -1) -> list[Sent]:
        """Send and wait for every acknowledgement; returns what was sent now.

        Args:
            partition: -1 means that the key decides.
        """
        before = len(self.sent)
        for message in messages:
            self._produce(message, partition)
        self.flush()
        return self.sent[before:]

    def flush(self) -> None:
        """Wait for the acknowledgements of all that was produced."""
        left = self.producer.flush(_ANSWER_S_MAX)
        assert not left, f"{left} messages were not acknowledged"
        assert not self._failures, self._failures[0].str()

    @contextmanager
    def load(self, fleet: Fleet, rate: float) -> Iterator[Traffic]:
        """For the length of a `with` block, `rate` messages a second out of a thread of its own."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(iter(fleet), rate, stop), name="load")
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()
        self.flush()

    def _run(self, messages: Iterator[SimulatedMessage], rate: float, stop: threading.Event) -> None:
        owed = 0.0
        while not stop.wait(_TICK_S):
            # A tick that comes late is not made up for: a broker that was away would be flooded.
            owed += rate * _TICK_S
            for _ in range(int(owed)):
                self._produce(next(messages), -1)
            owed -= int(owed)

    def _produce(self, message: Note | Outgoing, partition: int) -> None:
        refusal = message.refusal if isinstance(message, Note) else _refusal(message)
        key, value, headers = message.key, message.value, tuple(message.headers)
        # Not left to Kafka's answer: of a batch that it finds it has already, it tells another time.
        timestamp_ms = message.timestamp_ms or int(time.time() * 1000)

        def on_delivery(error: KafkaError | None, taken: Message) -> None:
            if error is not None:
                self._failures.append(error)
                return
            where, offset = taken.partition(), taken.offset()
            assert where is not None
            assert offset is not None
            self.sent.append(Sent(where, offset, value, key, timestamp_ms, headers, refusal))

        while True:
            try:
                self.producer.produce(
                    self.topic,
                    value,
                    key,
                    partition,
                    timestamp=timestamp_ms,
                    headers=list(headers),
                    on_delivery=on_delivery,
                )
            except BufferError:
                self.producer.poll(0.05)
            else:
                self.producer.poll(0)
                return


def _refusal(message: Outgoing) -> str | None:
    bad = getattr(message, "bad", None)
    return bad.reason if bad is not None else None


def live_fleet(seed: int, rate: float, *, bad_share: float = 0.02, late_share: float = 0.0) -> Fleet:
    """Vehicles whose event time runs with the clock when `rate` of their messages are sent a second."""
    vehicles = 100
    return Fleet(
        seed,
        start=datetime.now(UTC),
        vehicles=vehicles,
        interval_s=vehicles / rate,
        bad_share=bad_share,
        late_share=late_share,
    )


def past_fleet(seed: int, *, days: float = 0.01, count: int = 1000, bad_share: float = 0.02) -> Fleet:
    """Vehicles whose next `count` messages span `days` that have passed already."""
    vehicles = 100
    start = datetime(2025, 3, 1, 22, tzinfo=UTC)
    return Fleet(seed, start=start, vehicles=vehicles, interval_s=days * 86400 * vehicles / count, bad_share=bad_share)


def log_ends(bootstrap: str, topic: str) -> dict[int, int]:
    """Per partition, the offset after the log's last record."""
    with _asking(bootstrap, "ends") as consumer:
        return {
            p: consumer.get_watermark_offsets(TopicPartition(topic, p), _ANSWER_S_MAX)[1]
            for p in _parts(consumer, topic)
        }


def group_offsets(bootstrap: str, topic: str, group: str) -> dict[int, int]:
    """What a consumer group has committed, per partition; negative where it has nothing."""
    with _asking(bootstrap, group) as consumer:
        wanted = [TopicPartition(topic, p) for p in _parts(consumer, topic)]
        return {p.partition: p.offset for p in consumer.committed(wanted, _ANSWER_S_MAX)}


@contextmanager
def _asking(bootstrap: str, group: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0, "error_cb": lambda _error: None}
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _parts(consumer: Consumer, topic: str) -> list[int]:
    return sorted(consumer.list_topics(topic, timeout=_ANSWER_S_MAX).topics[topic].partitions)


def readable(bootstrap: str, topic: str) -> set[tuple[int, int]]:
    """Partition and offset of every message that a plain consumer finds in the topic now."""
    ends = log_ends(bootstrap, topic)
    found: set[tuple[int, int]] = set()
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "readable",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, p, 0) for p in ends])
        at_end: set[int] = set()
        while len(at_end) < len(ends):
            for message in consumer.consume(1000, 1.0):
                place = (message.partition(), message.offset())
                assert place[0] is not None
                assert place[1] is not None
                if message.error() is None:
                    found.add((place[0], place[1]))
                else:
                    at_end.add(place[0])
    finally:
        consumer.close()
    return found


def delete_records(bootstrap: str, topic: str, before: dict[int, int]) -> None:
    """Let Kafka delete what lies below an offset, per partition, as its retention does."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    wanted = [TopicPartition(topic, p, offset) for p, offset in before.items()]
    for answer in admin.delete_records(wanted, request_timeout=_ANSWER_S_MAX).values():
        answer.result(_ANSWER_S_MAX)


def commit_group_offsets(bootstrap: str, topic: str, group: str, offsets: dict[int, int]) -> None:
    """Commit a group's offsets, as an earlier consumer of the topic would have."""
    with _asking(bootstrap, group) as consumer:
        consumer.commit(offsets=[TopicPartition(topic, p, o) for p, o in offsets.items()], asynchronous=False)
