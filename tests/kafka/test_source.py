"""The source's rest: a process that has nothing to do sleeps, and is there when it is needed."""

from __future__ import annotations

import threading

from neptune_flow.kafka.source import IDLE_WAIT_MS, QUIET_S, QUIET_WAIT_MS, REST_S, Rest


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
