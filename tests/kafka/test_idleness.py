"""A partition is idle when Kafka says that there is no more of it; a flow that stood still, or a Kafka that is away, proves nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from neptune_flow.kafka import KafkaAddress, ReadFrom
from neptune_flow.kafka import idleness as module
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.kafka.reader import Progress, Reader, ReaderLimits
from neptune_flow.records import MessageBatch

IDLE_S = 0.5
LIMITS = ReaderLimits(1000, 16 << 20, 64 << 20, outage_s_max=60.0, idle_timeout_s=IDLE_S)
LIMIT_S = 60.0


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessBroker]:
    monkeypatch.setattr(module, "ASK_INTERVAL_S", 0.1)
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        yield broker


@pytest.fixture
def producer(broker: InProcessBroker) -> Producer:
    return Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})


@pytest.fixture
def reader(broker: InProcessBroker) -> Reader:
    return Reader(KafkaAddress(broker.bootstrap_servers, "sessions", "neptune", {}), LIMITS, Progress())


def produce(producer: Producer, count: int, partition: int = 0) -> None:
    for number in range(count):
        producer.produce("sessions", f"{number}".encode(), partition=partition)
    producer.flush()


def read(reader: Reader, seconds: float, partition: int = 0) -> list[MessageBatch]:
    """As the engine does, for so long."""
    taken: list[MessageBatch] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        taken += reader.take(partition)
        time.sleep(0.02)
    return taken


def read_to(reader: Reader, offset: int) -> list[MessageBatch]:
    taken: list[MessageBatch] = []
    deadline_s = time.monotonic() + LIMIT_S
    while not taken or taken[-1].next < offset:
        assert time.monotonic() < deadline_s
        taken += read(reader, 0.02)
    return taken


def test_a_silent_partition_is_idle_once_until_a_message_comes(producer: Producer, reader: Reader) -> None:
    reader.add(ReadFrom(0, 0))
    produce(producer, 3)
    assert not any(batch.idle for batch in read_to(reader, 3))
    (idle,) = read(reader, 4 * IDLE_S)
    assert (idle.idle, idle.first, idle.next, len(idle.messages)) == (True, 3, 3, 0)
    produce(producer, 1)
    read_to(reader, 4)
    assert [batch.idle for batch in read(reader, 4 * IDLE_S)] == [True]
    reader.remove(0)


def test_messages_that_came_while_nobody_read_are_no_silence(producer: Producer, reader: Reader) -> None:
    """As after an outage of the storage, in front of which the whole flow stood still."""
    reader.add(ReadFrom(0, 0))
    produce(producer, 3)
    read_to(reader, 3)
    for _ in range(3):
        produce(producer, 2)
        time.sleep(3 * IDLE_S)
        produce(producer, 2)
        ends = reader.position(0) + 4
        batches = read_to(reader, ends)
        assert not any(batch.idle for batch in batches)
    reader.remove(0)


def test_a_kafka_that_is_away_makes_nobody_idle(producer: Producer, broker: InProcessBroker, reader: Reader) -> None:
    reader.add(ReadFrom(0, 0))
    produce(producer, 3)
    read_to(reader, 3)
    del producer
    broker.close()
    assert read(reader, 6 * IDLE_S) == []
    reader.remove(0)


def test_a_partition_whose_end_is_not_told_keeps_no_other_from_being_idle(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = AdminClient.list_offsets

    def untold(self: AdminClient, asked: Any, **limits: Any) -> Any:
        found = told(self, asked, **limits)
        away: Future[Any] = Future()
        away.set_result(SimpleNamespace(offset=-1001))  # as librdkafka does where a leader does not answer
        return {part: away if part.partition < 2 else answer for part, answer in found.items()}

    monkeypatch.setattr(AdminClient, "list_offsets", untold)
    for partition in (0, 1, 2, 3):
        reader.add(ReadFrom(partition, 0))
    idle = {p for _ in range(40) for p in (0, 1, 2, 3) for batch in read(reader, 0.02, p) if batch.idle}
    assert idle == {2, 3}
    for partition in (0, 1, 2, 3):
        reader.remove(partition)


def test_nobody_waits_for_the_answer(producer: Producer, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def never(_self: AdminClient, parts: Any, **_limits: Any) -> Any:
        asked.append(parts)
        return {part: Future() for part in parts}

    monkeypatch.setattr(AdminClient, "list_offsets", never)
    reader.add(ReadFrom(0, 0))
    assert not any(batch.idle for batch in read(reader, 3 * IDLE_S))
    assert len(asked) == 1
    produce(producer, 2)
    assert not any(batch.idle for batch in read_to(reader, 2))
    reader.remove(0)
