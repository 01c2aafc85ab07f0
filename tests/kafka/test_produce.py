"""Producing to a real broker in this process: what was counted is there, once, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from threading import Event, Thread

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from neptune_flow.errors import Unavailable
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.kafka.produce import Production
from neptune_flow.simulator import Fleet, SimulatedMessage

TOPIC = "sessions"
LIMIT_S = 20.0


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    with InProcessBroker() as started:
        yield started


def messages(count: int) -> list[SimulatedMessage]:
    return list(islice(Fleet(3, start=datetime.now(UTC), vehicles=100, bad_share=0.1), count))


def read_all(broker: InProcessBroker, count: int) -> list[Message]:
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "group.id": "t", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(TOPIC, p, 0) for p in range(4)])
    read: list[Message] = []
    deadline = time.monotonic() + LIMIT_S
    while len(read) < count and time.monotonic() < deadline:
        read += consumer.consume(1000, 0.2)
    read += consumer.consume(1000, 0.3)
    consumer.close()
    return read


def test_every_message_arrives_once_with_key_value_time_and_headers(broker: InProcessBroker) -> None:
    sent = messages(3500)
    assert Production(broker.bootstrap_servers, TOPIC).run(sent) == len(sent)
    read = read_all(broker, len(sent))
    assert all(message.error() is None for message in read)
    arrived = [(m.key(), m.value(), m.timestamp()[1], tuple(m.headers() or ())) for m in read]
    assert sorted(arrived, key=repr) == sorted(((m.key, m.value, m.timestamp_ms, m.headers) for m in sent), key=repr)
    assert {m.partition() for m in read} == {0, 1, 2, 3}


def test_the_messages_of_a_key_stay_in_order(broker: InProcessBroker) -> None:
    sent = messages(2000)
    Production(broker.bootstrap_servers, TOPIC).run(sent)
    read = sorted(read_all(broker, len(sent)), key=lambda m: (m.partition() or 0, m.offset() or 0))
    for key in {m.key for m in sent}:
        assert [m.value() for m in read if m.key() == key] == [m.value for m in sent if m.key == key]


def test_a_rate_is_kept(broker: InProcessBroker) -> None:
    begun = time.monotonic()
    Production(broker.bootstrap_servers, TOPIC).run(messages(1000), rate=1000)
    assert 0.9 < time.monotonic() - begun < 3


def test_an_endless_fleet_stops_when_asked_and_the_count_is_what_arrived(broker: InProcessBroker) -> None:
    stop = Event()
    production = Production(broker.bootstrap_servers, TOPIC)
    counts: list[int] = []
    fleet = Fleet(3, start=datetime.now(UTC))
    thread = Thread(target=lambda: counts.append(production.run(fleet, rate=2000, stop=stop)))
    thread.start()
    deadline = time.monotonic() + LIMIT_S
    while production.acknowledged < 500 and time.monotonic() < deadline:
        stop.wait(0.01)
    stop.set()
    thread.join(LIMIT_S)
    assert counts[0] >= 500
    assert production.acknowledged == counts[0]
    assert len(read_all(broker, counts[0])) == counts[0]


def test_a_message_that_kafka_refuses_is_an_error(broker: InProcessBroker) -> None:
    production = Production(broker.bootstrap_servers, TOPIC, {"message.max.bytes": "2000"})
    big = messages(1)[0]._replace(value=b"x" * 5000)
    with pytest.raises(Unavailable, match="not acknowledged"):
        production.run([big])
