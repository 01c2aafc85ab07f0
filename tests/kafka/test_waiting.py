"""What waits in Kafka, seen from outside: when it came, and that nobody is disturbed by the question."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from neptune_flow.errors import Unavailable
from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.kafka.waiting import count_brokers, first_times

TOPIC, GROUP = "sessions", "neptune"
TIMES_MS = [1_700_000_000_000, 1_600_000_000_000, 1_800_000_000_000]


@pytest.fixture
def address() -> Iterator[KafkaAddress]:
    """Partition 0 holds three messages, partition 1 one."""
    with InProcessBroker() as broker:
        broker.make_topic(TOPIC)
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for time_ms in TIMES_MS:
            producer.produce(TOPIC, b"m", partition=0, timestamp=time_ms)
        producer.produce(TOPIC, b"m", partition=1, timestamp=7000)
        assert producer.flush(10) == 0
        yield KafkaAddress(broker.bootstrap_servers, TOPIC, GROUP)


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_the_time_of_the_message_at_an_offset_is_told(address: KafkaAddress, offset: int) -> None:
    assert first_times(address, {0: offset, 1: 0}) == {0: TIMES_MS[offset], 1: 7000}


def test_at_the_end_of_a_log_there_is_none_and_the_others_are_told(address: KafkaAddress) -> None:
    assert first_times(address, {0: 3, 1: 0, 2: 0}) == {1: 7000}


def test_an_offset_that_the_log_does_not_hold_has_none(address: KafkaAddress) -> None:
    assert first_times(address, {0: 99, 1: 0}) == {1: 7000}


def test_nothing_is_asked_where_nothing_is_wanted() -> None:
    assert first_times(KafkaAddress("127.0.0.1:1", TOPIC, GROUP), {}) == {}


def test_the_groups_offsets_stay_as_they_are(address: KafkaAddress) -> None:
    first_times(address, {0: 0})
    consumer = Consumer({"bootstrap.servers": address.bootstrap_servers, "group.id": GROUP})
    (committed,) = consumer.committed([TopicPartition(TOPIC, 0)], timeout=10)
    consumer.close()
    assert committed.offset < 0


def test_brokers_are_counted(address: KafkaAddress) -> None:
    assert count_brokers(address) == 1


def test_where_no_broker_answers_the_reason_is_told() -> None:
    nobody = KafkaAddress("127.0.0.1:1", TOPIC, GROUP)
    with pytest.raises(Unavailable) as away:
        first_times(nobody, {0: 0}, limit_s=1.0)
    assert "refused" in away.value.detail
