"""Processes that die at any moment, and processes that should not be there: under continuous load, and exact all the same."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from threading import Event

import pytest

from tests.services.neptune import Neptune
from tests.services.recovery import init_store, with_store
from tests.services.stage import Stage
from tests.services.traffic import live_fleet, past_fleet

KILLS = 10
RATE = 1500.0
"""Messages a second while Neptune is killed again and again."""
COMMITS_BEFORE = (0, 0, 1, 1, 2)
"""So many commits are waited for before the moment of the kill is drawn, however slow the machine is."""
LIFE_S_MAX = 1.2
"""The kill comes within so many seconds after that: about the time from one commit to the next."""


@pytest.mark.parametrize("has_store", [False, True], ids=["from the ledger alone", "with a recovery store"])
def test_ten_kills_at_random_moments_under_load_lose_nothing_and_double_nothing(
    stage: Stage, seed: int, tmp_path: Path, has_store: bool
) -> None:
    moments = random.Random(seed)
    stage.create_topic(4)
    traffic = stage.traffic()
    options = with_store(init_store(tmp_path / "recovery")) if has_store else []

    with traffic.load(live_fleet(seed, RATE, late_share=0.01), RATE):
        for _ in range(KILLS):
            _live_and_die(stage.start(*options, NEPTUNE_WINDOW_S="1"), moments)
    last = stage.start(*options, NEPTUNE_WINDOW_S="1")
    stage.wait_caught_up(last)

    assert last.terminate() == 0, last.tail()
    stage.assert_exact(traffic.sent)
    assert sum(len(p.events("committed")) for p in stage.processes) >= KILLS / 2, "the kills met no commit"


def _live_and_die(neptune: Neptune, moments: random.Random) -> None:
    """Kill it at a moment of its life: at times before it has started, at times while it commits."""
    if moments.random() < 0.9:
        neptune.wait_event("started")
        neptune.wait_event("committed", count=moments.choice(COMMITS_BEFORE))
    _live(moments.uniform(0, LIFE_S_MAX))
    assert neptune.exit_code is None, neptune.tail()
    neptune.kill()


def _live(seconds: float) -> None:
    """A random length of life: nothing is waited for."""
    Event().wait(seconds)


def test_a_second_process_by_mistake_doubles_nothing_and_the_log_says_which_one_stopped(
    stage: Stage, seed: int
) -> None:
    stage.create_topic(4)
    traffic = stage.traffic()
    traffic.send(islice(past_fleet(seed), 1000))
    with traffic.load(live_fleet(seed, RATE), RATE):
        first = stage.start(NEPTUNE_WINDOW_S="1")
        first.wait_event("committed")
        second = stage.start(NEPTUNE_WINDOW_S="1")
        first.wait_for(lambda: {first.exit_code, second.exit_code} != {None}, "one of the two stops")
        stopped, other = (first, second) if first.exit_code is not None else (second, first)
        goes_on = len(other.events("committed")) + 2
        other.wait_event("committed", count=goes_on)
    stage.wait_caught_up(other)

    assert stopped.exit_code == 75, stopped.tail()
    (why,) = stopped.events("stopped")
    assert why["error"] == "Superseded"
    assert stage.table in why["reason"]
    assert "partition" in why["detail"]
    assert "other process" in why["hint"]
    assert other.terminate() == 0, other.tail()
    stage.assert_exact(traffic.sent)


def test_a_frozen_process_that_wakes_up_beside_its_successor_lands_nothing(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        zombie = stage.start(NEPTUNE_WINDOW_S="1")
        zombie.wait_event("committed", count=2)
        with zombie.paused():
            successor = stage.start(NEPTUNE_WINDOW_S="1")
            successor.wait_event("committed", count=3)
        assert zombie.wait() == 75, zombie.tail()
        successor.wait_event("committed", count=5)
    stage.wait_caught_up(successor)
    assert successor.terminate() == 0, successor.tail()
    stage.assert_exact(traffic.sent)
