"""A simulated Kafka: one topic, read and asked by the real `neptune_flow.kafka` through a client that can fail in every call.

    consume      a few messages of some partitions, in order · EOF · offset out of range · an error of the line · all brokers down
    questions    the answer · an error · no answer in time
    group        offsets arrive · are lost · are refused
    the topic    grows, is shortened by retention, leaves offsets out, is deleted and created anew under its name

After a seek, what had been fetched before it may still come. Kafka's own rules hold: offsets ascend, and an id is never used twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.simulation.world import World

TOPIC = "topic"


class Kind(Enum):
    """What the contract says of a message."""

    GOOD = "good"
    BAD = "bad"
    DISPUTED = "disputed"
    """The even versions of the contract refuse it, the odd ones accept it."""
    LEFT_OUT = "left out"
    """Kafka does not deliver it: a transaction marker, a compacted record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One offset of the log."""

    kind: Kind
    event_time: int
    value: str
    """`generation/partition/offset`: what it is known by, wherever it lands."""


class Message:
    """What the client hands over: a record, or an event of a partition."""

    __slots__ = ("_error", "_offset", "_partition", "record")

    def __init__(self, partition: int, offset: int, record: Record | None, error: KafkaError | None = None) -> None:
        self._partition, self._offset, self.record, self._error = partition, offset, record, error

    def error(self) -> KafkaError | None:
        return self._error

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes | None:
        return None

    def __len__(self) -> int:
        return 100


class SimKafka:
    """The brokers, and the topic as it is now."""

    def __init__(self, world: World, partitions: int, *, tells_ids: bool) -> None:
        self.world = world
        self.tells_ids = tells_ids
        self.generation = 0
        self.logs: dict[int, list[Record]] = {p: [] for p in range(partitions)}
        self.low = dict.fromkeys(range(partitions), 0)
        self._deleted: dict[str | None, tuple[dict[int, list[Record]], dict[int, int]]] = {}
        self.compacted: set[str] = set()
        """Values of messages that Kafka holds no more, although it holds younger and older ones."""
        self.group: dict[int, int] = {}
        self.starts: dict[int, set[int]] = {p: {0} for p in range(partitions)}
        """Where a reader may have been told to begin."""
        self.reached: dict[int, int] = {}
        """How far the table has ever been: what the group is told must not be above it."""

    @property
    def topic_id(self) -> str | None:
        return f"id-{self.generation}" if self.tells_ids else None

    def append(self, partition: int, kind: Kind, event_time: int) -> None:
        log = self.logs[partition]
        log.append(Record(kind, event_time, f"{self.generation}/{partition}/{len(log)}"))

    def retain_from(self, partition: int, offset: int) -> None:
        self.low[partition] = offset
        self.starts[partition].add(offset)

    def recreate(self) -> None:
        """The same name and partitions, other messages."""
        self._deleted[self.topic_id] = self.logs, self.low
        self.generation += 1
        self.logs = {p: [] for p in self.logs}
        self.low = dict.fromkeys(self.logs, 0)

    def of_topic(self, topic_id: str | None, partition: int) -> tuple[list[Record], int]:
        """Log and first offset of a partition as they are, or were when the topic with this id was deleted."""
        logs, low = self._deleted.get(topic_id, (self.logs, self.low))
        return logs[partition], low[partition]

    def commit_group(self, partition: int, offset: int) -> None:
        if offset > self.reached.get(partition, 0):
            self.world.wrong.append(f"ahead: offset {offset} of partition {partition} is published, not landed")
        self.group[partition] = offset
        self.starts[partition].add(offset)


@dataclass(slots=True)
class _Fetch:
    """One assigned partition of a consumer."""

    position: int
    told_end: int = -1
    is_broken: bool = False
    stale: list[Message] = field(default_factory=list)
    """Fetched before the last seek, and still to be delivered."""


class SimConsumer:
    """As much of `confluent_kafka.Consumer` as Neptune uses."""

    def __init__(self, kafka: SimKafka, error_cb: Any) -> None:
        self._kafka, self._world, self._error_cb = kafka, kafka.world, error_cb
        self._fetches: dict[int, _Fetch] = {}
        self._left: dict[int, int] = {}

    def incremental_assign(self, parts: Sequence[TopicPartition]) -> None:
        for part in parts:
            fetch = self._fetches[part.partition] = _Fetch(part.offset)
            before = self._left.pop(part.partition, None)
            if before is not None and self._world.fault("redelivery after a seek"):
                fetch.stale = list(self._records(part.partition, min(before, part.offset), part.offset))

    def incremental_unassign(self, parts: Sequence[TopicPartition]) -> None:
        for part in parts:
            self._left[part.partition] = self._fetches.pop(part.partition).position

    def consume(self, _messages_max: int, _timeout: float) -> list[Message]:
        self._world.effect("consume")
        if self._world.fault("kafka away"):
            self._error_cb(KafkaError(KafkaError._ALL_BROKERS_DOWN))
            return []
        messages: list[Message] = []
        for partition, fetch in self._fetches.items():
            if self._world.fault("error of a fetch"):
                messages.append(Message(partition, -1001, None, KafkaError(KafkaError._TRANSPORT)))
                continue
            messages += self._fetched(partition, fetch)
        return messages

    def _fetched(self, partition: int, fetch: _Fetch) -> list[Message]:
        log, low = self._kafka.logs[partition], self._kafka.low[partition]
        if fetch.is_broken:
            return []
        if not low <= fetch.position <= len(log):
            fetch.is_broken = True
            return [Message(partition, fetch.position, None, KafkaError(KafkaError._AUTO_OFFSET_RESET))]
        messages, fetch.stale = fetch.stale, []
        wanted = 6 if self._world.calm else 6 - self._world.dice.below(7)
        end = min(len(log), fetch.position + wanted)
        messages += self._records(partition, fetch.position, end)
        # Past offsets without records a client fetches on by itself; in a calm world "nothing" says that there is no more.
        while self._world.calm and not messages and end < len(log):
            messages += self._records(partition, end, end + 1)
            end += 1
        fetch.position = end
        if end == len(log) != fetch.told_end:
            fetch.told_end = end
            messages.append(Message(partition, end, None, KafkaError(KafkaError._PARTITION_EOF)))
        return messages

    def _records(self, partition: int, first: int, end: int) -> list[Message]:
        numbered = enumerate(self._kafka.logs[partition][first:end], first)
        gone = self._kafka.compacted
        return [Message(partition, o, r) for o, r in numbered if r.kind is not Kind.LEFT_OUT and r.value not in gone]

    def list_topics(self, topic: str, timeout: float) -> Any:
        self._ask("list_topics")
        found = SimpleNamespace(error=None, partitions=dict.fromkeys(self._kafka.logs))
        return SimpleNamespace(topics={topic: found}, cluster_id="simulated")

    def get_watermark_offsets(
        self, part: TopicPartition, timeout: float = 0, cached: bool = False
    ) -> tuple[int, int] | None:
        if cached:
            return -1001, -1001
        self._ask("get_watermark_offsets")
        if self._world.fault("kafka: no answer in time", 0.3):
            return None
        return self._kafka.low[part.partition], len(self._kafka.logs[part.partition])

    def committed(self, parts: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        self._ask("committed")
        return [TopicPartition(TOPIC, t.partition, self._kafka.group.get(t.partition, -1001)) for t in parts]

    def commit(self, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        self._world.effect("publish")
        if self._world.fault("publish: refused"):
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        if self._world.fault("publish: lost"):
            return
        for part in offsets:
            self._kafka.commit_group(part.partition, part.offset)

    def poll(self, _timeout: float) -> None:
        return None

    def close(self) -> None:
        self._fetches = {}

    def _ask(self, question: str) -> None:
        self._world.effect(question)
        if self._world.fault("kafka: a question fails", 0.3):
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


class SimAdmin:
    """As much of `AdminClient` as Neptune uses. One that got no answer never gets one again: it goes on asking a broker that is dead."""

    def __init__(self, kafka: SimKafka) -> None:
        self._kafka, self._world = kafka, kafka.world
        self._asks_the_dead = False

    def describe_topics(self, _topics: object, request_timeout: float) -> Mapping[str, Any]:
        return {TOPIC: self}

    def list_offsets(self, asked: Mapping[TopicPartition, Any], **_limits: object) -> Mapping[TopicPartition, Any]:
        self._world.effect("list_offsets")
        return {part: self._end_of(part.partition) for part in asked}

    def _end_of(self, partition: int) -> Future[Any]:
        answer: Future[Any] = Future()
        if self._world.fault("kafka: a question fails", 0.3):
            answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        else:
            answer.set_result(SimpleNamespace(offset=len(self._kafka.logs[partition])))
        return answer

    def result(self, timeout: float) -> Any:
        self._world.effect("describe_topics")
        self._asks_the_dead |= self._world.fault("topic id: no answer")
        if self._asks_the_dead:
            raise TimeoutError
        if self._kafka.topic_id is None:
            raise KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE))
        return SimpleNamespace(topic_id=self._kafka.topic_id, partitions=list(self._kafka.logs))


class SimAddress:
    """Stands for `KafkaAddress`: makes the clients."""

    topic = TOPIC
    group = "neptune"
    bootstrap_servers = "simulated"

    def __init__(self, kafka: SimKafka) -> None:
        self._kafka = kafka

    def consumer(self, *, error_cb: Any = None, on_commit: Any = None, properties: Any = None) -> SimConsumer:
        return SimConsumer(self._kafka, error_cb)

    def admin(self) -> SimAdmin:
        return SimAdmin(self._kafka)
