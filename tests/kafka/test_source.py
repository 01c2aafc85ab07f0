"""The source: a partition's reading begins when Kafka is there; a process that has nothing to do sleeps, and is there when it is needed."""

from __future__ import annotations

import threading
from typing import Any

from neptune_flow.errors import Unavailable
from neptune_flow.kafka import KafkaSource, ReadFrom
from neptune_flow.kafka.source import IDLE_WAIT_MS, QUIET_S, QUIET_WAIT_MS, REST_S, Rest
from neptune_flow.patience import Patience


class World(threading.Event):
    """A stop that never comes, and a clock that waiting for it moves."""

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.quiet_s = quiet_s
        self.rests: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.rests.append(timeout or 0.0)
        self.now_s += timeout or 0.0
        return False

    def rest(self) -> Rest:
        return Rest(self, lambda: self.quiet_s, clock_s=lambda: self.now_s)


def test_a_worker_rests_in_one_part_and_the_others_wait_longer() -> None:
    world = World()
    rest = world.rest()
    assert [rest.wait_ms(part) for part in (3, 4, 5)] == [IDLE_WAIT_MS, QUIET_WAIT_MS, QUIET_WAIT_MS]
    assert rest.wait_ms(3) == IDLE_WAIT_MS
    assert world.rests == [REST_S], "the other steps have had no turn yet"


def test_after_the_other_steps_have_had_their_turn_it_rests_again() -> None:
    world = World()
    rest = world.rest()
    for part in (3, 3, 5):
        rest.wait_ms(part)
        world.now_s += IDLE_WAIT_MS / 1000
    assert world.rests == [REST_S] * 3
    assert rest.wait_ms(5) == IDLE_WAIT_MS, "where it rests moves with who asks first"


def test_nobody_rests_while_the_process_is_busy() -> None:
    world = World(quiet_s=QUIET_S / 2)
    assert [world.rest().wait_ms(part) for part in (3, 4)] == [IDLE_WAIT_MS] * 2
    assert world.rests == []


class AwayAtFirst:
    """A reader whose broker answers at the third question."""

    def __init__(self) -> None:
        self.asked = 0

    def add(self, start: ReadFrom) -> None:
        self.asked += 1
        if self.asked < 3:
            raise Unavailable("no answer while asking for the offsets")


def test_a_part_is_built_once_kafka_is_back() -> None:
    reader: Any = AwayAtFirst()
    waiting = Patience(60.0, World())
    source = KafkaSource(
        partitions=lambda: [0],
        begin=lambda partition, _position: ReadFrom(partition, 0),
        make_reader=lambda: reader,
        bound_to=lambda: "today",
        stopping=threading.Event(),
        patiently=lambda ask: waiting.call("kafka", ask),
    )
    source.build_part("messages", "0", None)
    assert reader.asked == 3
