"""Messages into a topic as fast as Kafka takes them, each to a partition of its own choice.

Neptune's own `kafka.Production` is for producers as they should be (idempotent, keyed partitions); a benchmark fills partitions evenly, and
as large batches as its topic is to have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import Producer

FLUSH_S_MAX = 60.0
Headers = Iterable[tuple[str, str | bytes | None]]
PROPERTIES: Mapping[str, object] = {
    "compression.type": "lz4",
    "linger.ms": 50,
    "batch.size": 1 << 20,
    "queue.buffering.max.messages": 1_000_000,
}


class Filling:
    """A producer that waits where its queue is full."""

    def __init__(
        self, bootstrap: str, topic: str, properties: Mapping[str, object] | None = None, headers: Headers = ()
    ) -> None:
        """`headers` are those of every message."""
        self._producer = Producer({**PROPERTIES, **(properties or {}), "bootstrap.servers": bootstrap})
        self._topic = topic
        self._headers = list(headers)

    def send(self, key: bytes, value: bytes | None, partition: int = -1) -> None:
        """One message; a partition of -1 is chosen by the key."""
        while True:
            try:
                self._producer.produce(self._topic, value, key, partition, headers=self._headers)
                return
            except BufferError:
                self._producer.poll(0.1)

    def send_in_turns(self, messages: Iterable[tuple[bytes, bytes | None]], partitions: int) -> None:
        """All messages, to the partitions in turn, and wait until Kafka has them."""
        for number, (key, value) in enumerate(messages):
            self.send(key, value, number % partitions)
        self.flush()

    def poll(self) -> None:
        """Give librdkafka its turn."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until Kafka has taken all."""
        left = self._producer.flush(FLUSH_S_MAX)
        assert not left, f"{left} messages were not acknowledged"
