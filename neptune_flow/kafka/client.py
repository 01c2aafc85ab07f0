"""How Neptune's Kafka clients are configured, and what their errors mean.

Neptune assigns partitions itself and resumes from the table's ledger, so nothing here joins a consumer group, and the properties in
FIXED are not a user's to set: with another value a message could be skipped in silence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from neptune_flow.errors import AccessDenied, NeptuneError, SettingsError, Unavailable, Untrusted
from neptune_flow.settings.fields import Kafka as KafkaSettings

FIXED: Mapping[str, object] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # A deleted resume offset is reported and counted; librdkafka's own choice would jump in silence.
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
}

DEFAULTS: Mapping[str, object] = {
    "client.id": "neptune",
    # The default of 1000 ms more than halves the rate of a consumer that empties its queue.
    "fetch.queue.backoff.ms": 10,
    "fetch.wait.max.ms": 100,
    "socket.keepalive.enable": True,
    "reconnect.backoff.ms": 250,
    "reconnect.backoff.max.ms": 2000,
    "topic.metadata.refresh.interval.ms": 60_000,
    # One fetch answer, bytes as compressed: the client unpacks all of it at once, whatever its queue's limit.
    "max.partition.fetch.bytes": 256 << 10,
    "fetch.max.bytes": 1 << 20,
}

QUIET: Mapping[str, object] = {
    # librdkafka writes its own lines straight to stderr, twenty a second while a broker is away. What they say comes through the
    # error callback too, once, in Neptune's log.
    "log_level": 2,
}

CLOSE_S_MAX = 6.0
"""So long the end of a process waits for a client to close."""

_DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Where the topic is and how to reach it."""

    bootstrap_servers: str
    topic: str
    group: str
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    """librdkafka properties passed through (SASL, TLS, …); may hold secrets."""

    @classmethod
    def of(cls, kafka: KafkaSettings) -> KafkaAddress:
        """The address that the settings name."""
        return cls(kafka.bootstrap_servers, kafka.topic, kafka.group, kafka.properties)

    def consumer(
        self,
        *,
        error_cb: Callable[[KafkaError], None] | None = None,
        on_commit: Callable[[KafkaError | None, list[TopicPartition]], None] | None = None,
        properties: Mapping[str, object] | None = None,
    ) -> Consumer:
        """A consumer that assigns for itself; `properties` are librdkafka's, a user's go before them."""
        config = self._config(error_cb, {**DEFAULTS, **QUIET, **(properties or {}), "group.id": self.group})
        if on_commit is not None:
            config["on_commit"] = on_commit
        with _naming_the_setting():
            return Consumer(config)

    def admin(self) -> AdminClient:
        with _naming_the_setting():
            return AdminClient(self._config(None, {"client.id": "neptune-admin", **QUIET}, fixed={}))

    def _config(
        self,
        error_cb: Callable[[KafkaError], None] | None,
        defaults: Mapping[str, object],
        fixed: Mapping[str, object] = FIXED,
    ) -> dict[str, Any]:
        config = {**defaults, **self.properties, **fixed, "bootstrap.servers": self.bootstrap_servers}
        # Without a callback librdkafka writes its errors to stderr, past the log.
        config["error_cb"] = error_cb or (lambda _error: None)
        return config


@contextmanager
def _naming_the_setting() -> Iterator[None]:
    """A client is made without asking anybody; what it refuses then is a property."""
    try:
        yield
    except KafkaException as error:
        raise SettingsError(
            f"NEPTUNE_KAFKA_PROPERTIES: {error.args[0].str()}",
            hint="the properties are librdkafka's; its CONFIGURATION.md lists them",
        ) from None


class LastError:
    """An error callback that remembers: a failed question says only "transport failure", the callback says why."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.text = error.str()


def error_of(error: KafkaError | KafkaException, address: KafkaAddress, doing: str, why: str = "") -> NeptuneError:
    """The error to raise for one of Kafka's, with the address, what was being done, and why it failed if that is known."""
    cause: KafkaError = error.args[0] if isinstance(error, KafkaException) else error
    where = f"Kafka at {address.bootstrap_servers}, topic {address.topic}"
    if cause.code() in _DENIED or "SASL authentication error" in why:
        return AccessDenied(
            f"{where}: not allowed while {doing}",
            detail=why or cause.str(),
            hint="check the credentials in NEPTUNE_KAFKA_PROPERTIES and the topic's access rules",
        )
    if "certificate verify failed" in why:
        return Untrusted(
            f"{where}: the broker's certificate is not trusted while {doing}",
            detail=why,
            hint="it has expired, is for another host than KAFKA_BOOTSTRAP_SERVERS or its advertised address says, or is of an authority that is "
            "not known here: NEPTUNE_KAFKA_PROPERTIES may name the file of a private one as ssl.ca.location",
        )
    return Unavailable(
        f"{where}: no answer while {doing}",
        detail=why or f"{cause.name()}: {cause.str()}",
        hint="check that KAFKA_BOOTSTRAP_SERVERS is right and that each broker's advertised address can be reached",
    )


def close(consumer: Consumer) -> None:
    """Close the client, or leave it after CLOSE_S_MAX to the end of the process.

    While brokers are away it waits for each answer that they owe, one after another, and cannot be told to give up.
    """
    closing = threading.Thread(target=consumer.close, name="closing a Kafka client", daemon=True)
    closing.start()
    closing.join(CLOSE_S_MAX)
