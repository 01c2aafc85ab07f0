"""What waits in Kafka, and who answers there; for looking from outside. Joins no group, publishes nothing, makes no topic."""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import KafkaException, Message, TopicPartition

from neptune_flow.errors import Unavailable
from neptune_flow.kafka.client import KafkaAddress, LastError, close, error_of
from neptune_flow.kafka.topic import CALL_TIMEOUT_S

_POLL_S = 0.1
_SMALL_FETCH: Mapping[str, object] = {"max.partition.fetch.bytes": 65_536, "queued.max.messages.kbytes": 1024}


def count_brokers(address: KafkaAddress) -> int:
    """Brokers of the cluster, asked for once.

    Raises:
        Unavailable, AccessDenied: none answered, or it refused.
    """
    last_error = LastError()
    consumer = address.consumer(error_cb=last_error)
    try:
        # A topic is named so that not those of the whole cluster are listed.
        return len(consumer.list_topics(address.topic, timeout=CALL_TIMEOUT_S).brokers)
    except KafkaException as error:
        consumer.poll(0)
        raise error_of(error, address, "asking for the brokers", last_error.text) from None
    finally:
        close(consumer)


def first_times(address: KafkaAddress, offsets: Mapping[int, int], limit_s: float = CALL_TIMEOUT_S) -> dict[int, int]:
    """Kafka's time, milliseconds since the epoch, of the first message at or above an offset of each partition.

    Args:
        offsets: per partition, where to look.
        limit_s: so long, seconds, is waited for all of them.

    Returns:
        Only the partitions whose message came, and has a time: at the log's end, and after the last message of a transaction, none comes.

    Raises:
        Unavailable, AccessDenied: no broker answered, or it refused.
    """
    found: dict[int, int] = {}
    if not offsets:
        return found
    last_error = LastError()
    consumer = address.consumer(error_cb=last_error, properties=_SMALL_FETCH)
    try:
        consumer.assign([TopicPartition(address.topic, p, offset) for p, offset in offsets.items()])
        open_ones, until = set(offsets), time.monotonic() + limit_s
        while open_ones and time.monotonic() < until:
            message = consumer.poll(_POLL_S)
            if message is not None and (partition := message.partition()) in open_ones:
                open_ones.discard(partition)
                if (time_ms := _time_ms(message, address)) is not None:
                    found[partition] = time_ms
                consumer.pause([TopicPartition(address.topic, partition)])
    except KafkaException as error:
        raise error_of(error, address, "reading the messages that wait", last_error.text) from None
    finally:
        close(consumer)
    if len(open_ones) == len(offsets) and last_error.text:
        raise Unavailable(
            f"Kafka at {address.bootstrap_servers}, topic {address.topic}: no message came within {limit_s:g} s",
            detail=last_error.text,
        )
    return found


def _time_ms(message: Message, address: KafkaAddress) -> int | None:
    error = message.error()
    if error is not None:
        refused = error_of(error, address, "reading the messages that wait")
        if not isinstance(refused, Unavailable):
            raise refused
        return None  # the log's end, or an offset that retention has deleted since
    kind, time_ms = message.timestamp()
    return time_ms if kind else None
