"""The consumer group's offsets follow the table, and never hold up the end of a process."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, TopicPartition

from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.client import CLOSE_S_MAX
from neptune_flow.kafka.group_offsets import GroupOffsets
from neptune_flow.kafka.in_process import InProcessBroker

SLACK_S = 10.0
"""What a busy machine may add."""


def _committed(address: KafkaAddress) -> int:
    consumer = Consumer({"bootstrap.servers": address.bootstrap_servers, "group.id": address.group})
    try:
        (found,) = consumer.committed([TopicPartition(address.topic, 0)], timeout=10)
        return int(found.offset)
    finally:
        consumer.close()


def test_what_was_published_last_is_there_when_it_has_closed() -> None:
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        address = KafkaAddress(broker.bootstrap_servers, "sessions", "neptune", {})
        offsets = GroupOffsets(address)
        for offset in (3, 5, 8):
            offsets.publish({0: offset})
        offsets.close()
        assert _committed(address) == 8


def test_closing_is_bounded_however_many_answers_a_broker_that_is_gone_owes() -> None:
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        offsets = GroupOffsets(KafkaAddress(broker.bootstrap_servers, "sessions", "neptune", {}))
        offsets.publish({0: 1})
    for offset in range(2, 7):
        offsets.publish({0: offset})
        time.sleep(1)
    began_s = time.monotonic()
    offsets.close()
    assert time.monotonic() - began_s < CLOSE_S_MAX + SLACK_S
