"""Messages into a topic, as fast as Kafka takes them or at a steady rate. For the simulator, the demo and benchmarks.

Delivery: each message once, in order per Kafka partition (idempotent producer). What `produce` counts was acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from threading import Event
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from neptune_flow.errors import Unavailable

_FLUSH_S_MAX = 30.0
"""How long the last messages may take to be acknowledged."""
_TICK_S = 0.01
"""Between two bursts of a steady rate: short enough to look steady, long enough to sleep at all."""
_QUEUE_FULL_POLL_S = 0.05
"""How long to wait for room in the producer's queue, each time it is full."""
_BURST_MESSAGES_MAX = 1000
"""Messages between two looks at `stop`."""
_PROPERTIES: Mapping[str, object] = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "compression.type": "lz4",
    # Java's way to choose a partition from a key.
    "partitioner": "murmur2_random",
    "delivery.report.only.error": True,
    # Critical: librdkafka writes its lines to stderr, past the log; `run` tells every failure that matters.
    "log_level": 2,
}


class Outgoing(Protocol):
    """A message to produce."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def timestamp_ms(self) -> int: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...


class Production:
    """Producing messages to a topic; `acknowledged` may be read from another thread."""

    def __init__(self, bootstrap_servers: str, topic: str, properties: Mapping[str, str] | None = None) -> None:
        config: dict[str, Any] = {**_PROPERTIES, **(properties or {}), "bootstrap.servers": bootstrap_servers}
        # Without a callback librdkafka writes its errors to stderr, past the log.
        self._producer = Producer({**config, "error_cb": lambda _error: None})
        self._address = bootstrap_servers
        self._topic = topic
        self._sent = 0
        self._failure: KafkaError | None = None

    @property
    def acknowledged(self) -> int:
        """Messages that Kafka has taken; a little less while some are under way."""
        return max(0, self._sent - len(self._producer))

    def run(self, messages: Iterable[Outgoing], *, rate: float | None = None, stop: Event | None = None) -> int:
        """Produces the messages until they end or `stop` is set, then waits for the last acknowledgement.

        Args:
            messages: may be endless if `stop` is given.
            rate: messages per second; None is as fast as Kafka takes them.
            stop: set from another thread.

        Returns:
            How many messages Kafka has acknowledged.

        Raises:
            Unavailable: a message was not acknowledged.
        """
        for burst in _bursts(iter(messages), rate, stop or Event()):
            for message in burst:
                self._send(message)
            self._producer.poll(0)
            if self._failure is not None:
                break
        left = self._producer.flush(_FLUSH_S_MAX)
        if left or self._failure is not None:
            raise Unavailable(
                f"Kafka at {self._address}, topic {self._topic}: {max(left, 1)} messages were not acknowledged",
                detail=self._failure.str() if self._failure else f"no answer within {_FLUSH_S_MAX:g} s",
                hint="check the brokers and whether the topic may be written",
            )
        return self._sent

    def _send(self, message: Outgoing) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    message.value,
                    message.key,
                    timestamp=message.timestamp_ms,
                    headers=list(message.headers),
                    on_delivery=self._on_failure,
                )
            except BufferError:
                self._producer.poll(_QUEUE_FULL_POLL_S)
            except KafkaException as error:
                self._failure = error.args[0]
                return
            else:
                self._sent += 1
                return

    def _on_failure(self, error: KafkaError | None, _: Message) -> None:
        self._failure = self._failure or error


def _bursts(messages: Iterator[Outgoing], rate: float | None, stop: Event) -> Iterator[list[Outgoing]]:
    """The messages in bursts, each when its time has come."""
    begun = time.monotonic()
    sent = 0
    while not stop.is_set():
        due = _BURST_MESSAGES_MAX if rate is None else int((time.monotonic() - begun) * rate) - sent
        burst = list(islice(messages, min(due, _BURST_MESSAGES_MAX)))
        if not burst and due > 0:
            return
        sent += len(burst)
        yield burst
        if rate is not None and due <= _BURST_MESSAGES_MAX:
            stop.wait(_TICK_S)
