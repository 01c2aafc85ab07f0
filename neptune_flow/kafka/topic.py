"""The topic: is it there, which partitions has it, where does a partition begin, and is it before each commit still the same.

A topic that is deleted and created anew has the same name and, soon, the same offsets with other messages. Topic ids are never used twice, so
if the id is unchanged just before a commit, everything read until then came from the old topic. Only an answer proves that: without one the
commit waits.

librdkafka puts this question to the controller that the last metadata named, and where that broker has died it goes on asking it, for minutes.
So a client that gave no answer is dropped, and a fresh one asks next: it takes its metadata from whatever bootstrap server answers. With
KRaft that names any broker that is alive as the controller, once the cluster has noticed who is not (`broker.session.timeout.ms`, 9 s).

What a broker answers is what it knows: one that is cut off from its controller, but not from here, may tell an id that is no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, TopicDescription  # type: ignore[attr-defined]

from neptune_flow.errors import AccessDenied, LedgerConflict, Unavailable
from neptune_flow.kafka.client import KafkaAddress, LastError, error_of
from neptune_flow.telemetry import get_logger

log = get_logger("neptune.kafka")

_ZERO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What a broker without topic ids answers, in Kafka's base 64."""
_NO_TOPIC_IDS = frozenset({KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION})

CALL_TIMEOUT_S = 5.0
"""One question to the brokers; the caller repeats it within its own limit."""

WATCH_TIMEOUT_S = 2.0
"""The question before each commit, to a client that is connected: a broker that is there answers in milliseconds."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that exists."""

    name: str
    id: str | None
    """KIP-516; None where the broker does not tell it."""
    partitions: tuple[int, ...]


def find_topic(address: KafkaAddress) -> Topic:
    """Ask the brokers for the topic, once.

    Raises:
        Unavailable: no broker answered, or the topic does not exist (yet).
        AccessDenied: the credentials do not allow it.
    """
    last_error = LastError()
    consumer = address.consumer(error_cb=last_error)
    try:
        cluster = consumer.list_topics(address.topic, timeout=CALL_TIMEOUT_S)
    except KafkaException as error:
        consumer.poll(0)
        raise error_of(error, address, "asking for the topic", last_error.text) from None
    finally:
        consumer.close()
    metadata = cluster.topics[address.topic]
    if metadata.error is not None:
        if metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise Unavailable(
                f"Kafka at {address.bootstrap_servers}: topic {address.topic} does not exist yet",
                hint="create the topic, or set KAFKA_TOPIC to the right name",
            )
        raise error_of(metadata.error, address, "asking for the topic")
    # librdkafka's in-process broker has no topic ids, and never answers who asks for one.
    is_in_process = str(cluster.cluster_id).startswith("mockCluster")
    topic_id = None if is_in_process else _topic_id(address)
    return Topic(address.topic, topic_id, tuple(sorted(metadata.partitions)))


def _topic_id(address: KafkaAddress) -> str | None:
    # The client must outlive its question: a collected one never answers.
    admin = address.admin()
    try:
        return _id_of(_describe(admin, address.topic, CALL_TIMEOUT_S))
    except KafkaException as error:
        if error.args[0].code() in _NO_TOPIC_IDS:
            log.warning("no_topic_id", topic=address.topic, effect="a topic that is created anew cannot be recognized")
            return None
        raise error_of(error, address, "asking for the topic's id") from None
    except TimeoutError:
        raise Unavailable(f"Kafka at {address.bootstrap_servers}: no answer while asking for the topic's id") from None


def _describe(admin: AdminClient, topic: str, timeout_s: float) -> TopicDescription:
    asked = TopicCollection([topic])
    # No name for the future: what it raises would hold it, and with it a client that is dropped.
    found: TopicDescription = admin.describe_topics(asked, request_timeout=timeout_s)[topic].result(timeout=timeout_s)
    return found


def _id_of(described: TopicDescription) -> str | None:
    topic_id = str(described.topic_id)
    return None if topic_id == _ZERO_ID else topic_id


def make_topic(address: KafkaAddress, partitions: int) -> bool:
    """Create the topic where it is missing, with the broker's defaults; whether it was created.

    A broker that does not answer this call (librdkafka's in-process one) makes topics when they are first written to.

    Raises:
        Unavailable, AccessDenied: no broker answered, or it refused.
    """
    admin = address.admin()
    try:
        if address.topic in admin.list_topics(timeout=CALL_TIMEOUT_S).topics:
            return False
        admin.create_topics([NewTopic(address.topic, partitions)])[address.topic].result(timeout=CALL_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise error_of(error, address, "creating the topic") from None
    except TimeoutError:
        return False
    return True


class TopicWatch:
    """Tells whether the topic is still the one that was found at the start; the module's head says why that is asked, and how."""

    def __init__(self, address: KafkaAddress, topic: Topic) -> None:
        self._address = address
        self._topic = topic
        self._partitions = len(topic.partitions)
        self._admin: AdminClient | None = None
        """One that has answered last time."""

    def check(self) -> None:
        """Ask once.

        Raises:
            LedgerConflict: another topic has this name now.
            Unavailable: no broker told the topic's id; the next call asks with a fresh client.
            AccessDenied: the credentials do not allow it any more.
        """
        if self._topic.id is None:
            return
        described = self._ask()
        found = _id_of(described)
        if found is None:
            raise self._untold("it tells no topic ids any more")
        if found != self._topic.id:
            raise LedgerConflict(
                f"topic {self._topic.name} was deleted and created anew while its messages were being read",
                detail=f"topic id at the start {self._topic.id}, now {found}; nothing that was read since the last commit is kept",
                hint="land the new topic in a table of its own (ICEBERG_TABLE); "
                "or go on in this one with the new topic: python -m neptune_flow ledger set --from earliest",
            )
        if len(described.partitions) > self._partitions:
            self._partitions = len(described.partitions)
            log.warning(
                "partitions_added",
                topic=self._topic.name,
                partitions=self._partitions,
                hint="start again: new partitions are then read from their first message (in group mode that comes by itself)",
            )

    def _ask(self) -> TopicDescription:
        timeout_s = CALL_TIMEOUT_S if self._admin is None else WATCH_TIMEOUT_S
        admin = self._admin or self._address.admin()
        self._admin = None
        try:
            described = _describe(admin, self._topic.name, timeout_s)
        except TimeoutError:
            raise self._untold("no answer in time") from None
        except KafkaException as error:
            refused = error_of(error, self._address, "asking for the topic's id")
            raise refused if isinstance(refused, AccessDenied) else self._untold(refused.detail) from None
        self._admin = admin
        return described

    def _untold(self, why: str) -> Unavailable:
        return Unavailable(
            f"Kafka at {self._address.bootstrap_servers} does not say whether topic {self._topic.name} is still the same",
            detail=why,
            hint="nothing is committed until it does; start again when it is back: nothing is lost (limit: NEPTUNE_RETRY_S_MAX)",
        )


OUT_OF_RANGE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})
"""How a consumer is told that the log does not hold its position."""


def log_range(consumer: Consumer, address: KafkaAddress, partition: int) -> tuple[int, int]:
    """The partition's first offset that Kafka still holds, and its end.

    Raises:
        Unavailable, AccessDenied: the broker did not answer.
    """
    try:
        found = consumer.get_watermark_offsets(TopicPartition(address.topic, partition), timeout=CALL_TIMEOUT_S)
    except KafkaException as error:
        raise error_of(error, address, f"asking for the offsets of partition {partition}") from None
    if found is None:
        raise Unavailable(f"Kafka at {address.bootstrap_servers}: no offsets of partition {partition} in time")
    low, high = found
    return low, high


def log_ranges(address: KafkaAddress, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Per partition the first offset that Kafka still holds, and the log's end; raises as `log_range` does."""
    consumer = address.consumer()
    try:
        return {p: log_range(consumer, address, p) for p in partitions}
    finally:
        consumer.close()


def start_offsets(address: KafkaAddress, partitions: Sequence[int], start_from: str | datetime) -> Mapping[int, int]:
    """Where partitions begin that the ledger does not know.

    Args:
        address: the topic.
        partitions: of which the offsets are wanted.
        start_from: `earliest`, `latest`, `group` (what an earlier consumer of this group has committed, else earliest), or
            a time (the first message at or after it).

    Raises:
        Unavailable, AccessDenied: the broker did not answer.
        LedgerConflict: the group has committed offsets beyond the log's end.
    """
    consumer = address.consumer()
    try:
        published: list[TopicPartition] = []
        if start_from == "group":
            # Asked before the log's end: another process may land and publish in between.
            wanted = [TopicPartition(address.topic, p) for p in partitions]
            published = consumer.committed(wanted, timeout=CALL_TIMEOUT_S)
        ranges = {p: log_range(consumer, address, p) for p in partitions}
        if start_from == "earliest":
            return {p: low for p, (low, _) in ranges.items()}
        if start_from == "latest":
            return {p: high for p, (_, high) in ranges.items()}
        if start_from == "group":
            found = published
            missing = {p: low for p, (low, _) in ranges.items()}
        else:
            assert isinstance(start_from, datetime)  # noqa: S101 - settings allow nothing else
            at_ms = round(start_from.timestamp() * 1000)
            wanted = [TopicPartition(address.topic, p, at_ms) for p in partitions]
            found = consumer.offsets_for_times(wanted, timeout=CALL_TIMEOUT_S)
            missing = {p: high for p, (_, high) in ranges.items()}
    except KafkaException as error:
        raise error_of(error, address, "asking where to start") from None
    finally:
        consumer.close()
    offsets = {t.partition: t.offset if t.offset >= 0 else missing[t.partition] for t in found}
    for partition, offset in offsets.items():
        if offset > ranges[partition][1]:
            raise LedgerConflict(
                f"group {address.group} has committed offset {offset} of partition {partition} of topic {address.topic}, "
                f"whose log ends at {ranges[partition][1]}",
                detail="the topic was created anew or truncated since",
                hint="set NEPTUNE_START_FROM=earliest, or correct the group's offsets",
            )
    # One that retention has overtaken stays as it is: the reader reports what is lost.
    return offsets
