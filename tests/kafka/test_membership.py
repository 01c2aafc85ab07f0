"""A member of the consumer group: what it is assigned, when it hands over, and that a flow which stands still does not keep its partitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, TopicPartition

from neptune_flow.errors import Unavailable
from neptune_flow.kafka import KafkaAddress, Membership
from neptune_flow.kafka.in_process import InProcessBroker

LIMIT_S = 60.0
SESSION_S = 6.0


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        yield broker


def member(broker: InProcessBroker, is_alive: Callable[[], bool] = lambda: True) -> Membership:
    address = KafkaAddress(broker.bootstrap_servers, "sessions", "neptune", {})
    membership = Membership(
        address, instance_id="", session_timeout_s=SESSION_S, drain_s_max=1.0, outage_s_max=1.0, is_alive=is_alive
    )
    membership.join()
    return membership


def wait_for(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_a_member_whose_flow_stands_still_loses_its_partitions_to_one_whose_flow_moves(broker: InProcessBroker) -> None:
    moves = threading.Event()
    moves.set()
    stuck = member(broker, moves.is_set)
    begun = stuck.begin_round(threading.Event())
    assert begun is not None
    partitions, ending = begun
    moves.clear()
    other = member(broker)
    wait_for(lambda: (other.begin_round(threading.Event()) or ((), None))[0] == partitions)
    assert not ending.is_set()
    moves.set()
    wait_for(ending.is_set)
    stuck.end_round()
    other.end_round()
    stuck.leave()
    other.leave()


def test_a_stop_ends_the_waiting_for_partitions(broker: InProcessBroker) -> None:
    stopping = threading.Event()
    stopping.set()
    membership = member(broker)
    assert membership.begin_round(stopping) is None
    membership.leave()


def test_a_member_without_a_round_gives_up_when_the_brokers_stay_away(broker: InProcessBroker) -> None:
    membership = member(broker)
    assert membership.begin_round(threading.Event())
    membership.end_round()
    broker.close()
    gave_up: list[Unavailable] = []

    def ask() -> object:
        try:
            membership.begin_round(threading.Event())
        except Unavailable as away:
            gave_up.append(away)
        membership.end_round()
        return gave_up

    wait_for(ask)
    assert "has been away" in gave_up[0].primary
    membership.leave()


def test_offsets_that_come_in_a_rebalance_are_published_after_it_without_a_warning(
    broker: InProcessBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    membership = member(broker)
    begun = membership.begin_round(threading.Event())
    assert begun is not None
    mine = begun[0][0]
    late = [TopicPartition("sessions", mine, 7), TopicPartition("sessions", 99, 7)]
    membership._on_published(KafkaError(KafkaError.ILLEGAL_GENERATION), late)
    membership.end_round()
    wait_for(lambda: published(membership._address) == {mine: 7})
    membership.leave()
    assert "group_offsets_not_published" not in capsys.readouterr().err


def published(address: KafkaAddress) -> dict[int, int]:
    """What the group has of partitions 0 to 3."""
    consumer = address.consumer()
    try:
        found = consumer.committed([TopicPartition(address.topic, p) for p in range(4)], timeout=10)
    finally:
        consumer.close()
    return {p.partition: p.offset for p in found if p.offset >= 0}
