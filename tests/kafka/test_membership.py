"""A member of the consumer group: what it is assigned, when it hands over, and that a flow which stands still does not keep its partitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

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
    membership = Membership(address, instance_id="", session_timeout_s=SESSION_S, drain_s_max=1.0, is_alive=is_alive)
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
