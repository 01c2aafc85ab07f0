"""The reader on a broker of the same process: what it hands over, and how it notices that nobody is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from neptune_flow.errors import Unavailable
from neptune_flow.kafka import KafkaAddress, ReadFrom
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.kafka.outage import PROBE_INTERVAL_S
from neptune_flow.kafka.reader import Progress, Reader, ReaderLimits
from neptune_flow.records import MessageBatch

LIMIT_S = 60.0
LIMITS = ReaderLimits(1000, 16 << 20, 64 << 20, outage_s_max=1.0, idle_timeout_s=LIMIT_S)


class SilentAddress(KafkaAddress):
    """A client that does not say that its brokers are away, as happens while it still holds messages."""

    def consumer(self, *, error_cb: Any = None, on_commit: Any = None, properties: Any = None) -> Consumer:
        return super().consumer(on_commit=on_commit, properties=properties)


def _until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _produce(producer: Producer, count: int, partition: int = 0) -> None:
    for number in range(count):
        producer.produce("sessions", f"{number}".encode(), partition=partition)
    producer.flush()


def _take(reader: Reader, taken: list[bytes]) -> int:
    for batch in reader.take(0):
        taken.extend(v for v in batch.values if v is not None)
    return len(taken)


@pytest.mark.parametrize("address", [KafkaAddress, SilentAddress])
def test_brokers_that_stay_away_end_the_reading_whether_the_client_says_so_or_not(address: type[KafkaAddress]) -> None:
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        _produce(producer, 10)
        reader = Reader(address(broker.bootstrap_servers, "sessions", "neptune", {}), LIMITS, Progress())
        reader.add(ReadFrom(0, 0, is_start=True))
        taken: list[bytes] = []
        _until(lambda: _take(reader, taken) == 10)
    assert taken == [f"{number}".encode() for number in range(10)]

    began_s = time.monotonic()
    with pytest.raises(Unavailable, match="NEPTUNE_RETRY_S_MAX"):
        _until(lambda: _take(reader, taken) > 10)
    assert time.monotonic() - began_s > LIMITS.outage_s_max
    reader.remove(0)


def test_the_end_of_one_partitions_epoch_makes_no_room_while_anothers_messages_are_under_way() -> None:
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        reader = Reader(KafkaAddress(broker.bootstrap_servers, "sessions", "neptune", {}), LIMITS, Progress())
        taken = 0

        def take() -> int:
            nonlocal taken
            taken += sum(len(batch.values) for partition in (0, 1) for batch in reader.take(partition))
            return taken

        for partition in (0, 1):
            _produce(producer, 10, partition)
            reader.add(ReadFrom(partition, 0))
        _until(lambda: take() == 20)
        reader._limits = replace(LIMITS, inflight_bytes_max=1)
        _produce(producer, 10, 0)
        reader.epoch_ended(0)
        end_s = time.monotonic() + 1
        while time.monotonic() < end_s:
            assert take() == 20
        reader.epoch_ended(1)
        _until(lambda: take() == 30)
        for partition in (0, 1):
            reader.remove(partition)


def test_a_topic_without_traffic_is_no_outage() -> None:
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        reader = Reader(KafkaAddress(broker.bootstrap_servers, "sessions", "neptune", {}), LIMITS, Progress())
        reader.add(ReadFrom(0, 0, is_start=True))
        end_s = time.monotonic() + 2 * PROBE_INTERVAL_S + 1
        while time.monotonic() < end_s:
            assert _take(reader, []) == 0
            time.sleep(0.02)
        reader.remove(0)


def test_the_batch_with_which_all_that_had_waited_is_read_says_so_and_no_other() -> None:
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        limits = ReaderLimits(4, 16 << 20, 64 << 20, outage_s_max=LIMIT_S, idle_timeout_s=LIMIT_S)
        reader = Reader(KafkaAddress(broker.bootstrap_servers, "sessions", "neptune", {}), limits, Progress())
        taken: list[MessageBatch] = []

        def take_up_to(offset: int) -> None:
            def is_there() -> bool:
                taken.extend(reader.take(0))
                return bool(taken) and taken[-1].next == offset

            _until(is_there)

        _produce(producer, 10)
        reader.add(ReadFrom(0, 2))
        take_up_to(10)
        _produce(producer, 5)
        take_up_to(15)
        reader.remove(0)
    due = [batch for batch in taken if batch.start]
    assert [batch.first < 10 <= batch.next for batch in due] == [True]
