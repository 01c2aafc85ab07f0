"""Waiting out an outage: what is asked again, how the pauses grow, and what ends the waiting. No test waits."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from neptune_flow.errors import AccessDenied, LedgerConflict, LostRace, StopRequested, Unavailable
from neptune_flow.patience import PAUSE_S_MAX, PAUSE_S_MIN, RACE_PAUSE_S_MAX, TOLD_EVERY_S, Patience
from neptune_flow.telemetry import configure_logging
from neptune_flow.vitals import Vitals


class FakeStop(threading.Event):
    """A stop signal on a clock of its own: to wait for it takes no time, but the clock goes on."""

    def __init__(self, comes_at_s: float = float("inf")) -> None:
        super().__init__()
        self.now_s = 0.0
        self.comes_at_s = comes_at_s
        self.pauses_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses_s.append(timeout)
        self.now_s += timeout
        return self.now_s >= self.comes_at_s


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> FakeStop:
    fake = FakeStop()
    monkeypatch.setattr(time, "monotonic", lambda: fake.now_s)
    return fake


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    yield stream
    configure_logging("WARNING", "json")


def answers_after(failures: int, error: Exception) -> Callable[[], str]:
    left = iter([error] * failures)

    def ask() -> str:
        for failure in left:
            raise failure
        return "answer"

    return ask


AWAY = Unavailable("the catalog is away", detail="connection refused", hint="start it")


def test_an_answer_at_once_is_passed_on_without_a_pause_or_a_line(stop: FakeStop, log: io.StringIO) -> None:
    assert Patience(60, stop).call("catalog", lambda: 42) == 42
    assert (stop.pauses_s, log.getvalue()) == ([], "")


def test_an_outage_is_waited_out_with_pauses_that_double_up_to_a_limit(stop: FakeStop) -> None:
    assert Patience(600, stop).call("catalog", answers_after(12, AWAY)) == "answer"
    assert len(stop.pauses_s) == 12
    for number, pause_s in enumerate(stop.pauses_s):
        least = min(PAUSE_S_MIN * 2**number, PAUSE_S_MAX)
        assert least <= pause_s <= least + PAUSE_S_MIN


def test_who_has_lost_races_comes_back_soon_at_a_moment_of_its_own_and_nobody_is_told_away(
    stop: FakeStop, log: io.StringIO
) -> None:
    vitals = Vitals()
    race = LostRace("the commit is refused", detail="main has changed")
    assert Patience(600, stop, vitals=vitals).call("catalog", answers_after(40, race)) == "answer"
    assert all(0 <= pause_s <= RACE_PAUSE_S_MAX for pause_s in stop.pauses_s)
    assert len(set(stop.pauses_s)) == 40
    assert vitals.retries.total() == 0
    assert log.getvalue() == "" or stop.now_s > TOLD_EVERY_S


def test_when_the_limit_has_passed_the_last_error_is_raised_as_it_was(stop: FakeStop) -> None:
    with pytest.raises(Unavailable) as caught:
        Patience(30, stop).call("catalog", answers_after(1_000, AWAY))
    assert caught.value is AWAY
    assert 20 < stop.now_s <= 30


def test_a_limit_of_zero_asks_once(stop: FakeStop) -> None:
    with pytest.raises(Unavailable):
        Patience(0, stop).call("catalog", answers_after(1, AWAY))
    assert stop.pauses_s == []


def test_a_stop_ends_the_waiting_and_not_the_limit(stop: FakeStop) -> None:
    stop.comes_at_s = 3.0
    with pytest.raises(StopRequested):
        Patience(600, stop).call("catalog", answers_after(1_000, AWAY))
    assert stop.now_s < 10


def test_a_stop_that_came_before_ends_the_first_pause_at_once() -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(StopRequested):
        Patience(600, stopping).call("catalog", answers_after(1_000, AWAY))


@pytest.mark.parametrize("error", [LedgerConflict("another topic"), ValueError("a defect"), StopRequested("stop")])
def test_what_no_waiting_can_mend_is_raised_at_once(stop: FakeStop, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        Patience(600, stop).call("catalog", answers_after(1, error))
    assert caught.value is error
    assert stop.pauses_s == []


def test_refused_credentials_are_final_at_the_start_and_waited_for_while_running(stop: FakeStop) -> None:
    denied = AccessDenied("no access")
    with pytest.raises(AccessDenied):
        Patience(600, stop).call("storage", answers_after(1, denied))
    assert Patience(600, stop, denied_too=True).call("storage", answers_after(1, denied)) == "answer"


def test_each_call_has_the_whole_limit(stop: FakeStop) -> None:
    patience = Patience(30, stop)
    for _ in range(3):
        assert patience.call("catalog", answers_after(5, AWAY)) == "answer"
    assert stop.now_s > 30 / 2


def lines_of(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(text) for text in log.getvalue().splitlines()]


def test_an_outage_is_told_at_once_with_service_reason_and_limit_and_so_is_its_end(
    stop: FakeStop, log: io.StringIO
) -> None:
    Patience(600, stop).call("catalog", answers_after(6, AWAY))
    waiting, answered = lines_of(log)
    assert {k: waiting[k] for k in ("event", "service", "reason", "detail", "hint", "waited_s", "limit_s")} == {
        "event": "waiting",
        "service": "catalog",
        "reason": "the catalog is away",
        "detail": "connection refused",
        "hint": "start it",
        "waited_s": 0,
        "limit_s": 600,
    }
    assert (answered["event"], answered["service"], answered["after_s"]) == (
        "answered",
        "catalog",
        round(stop.now_s, 1),
    )


def test_a_long_outage_is_told_again_from_time_to_time(stop: FakeStop, log: io.StringIO) -> None:
    Patience(600, stop).call("catalog", answers_after(100, AWAY))
    told_s = [line["waited_s"] for line in lines_of(log)[:-1]]
    assert told_s[0] == 0
    assert all(TOLD_EVERY_S - 0.1 <= b - a < TOLD_EVERY_S + PAUSE_S_MAX + 1 for a, b in pairwise(told_s))
    assert told_s[-1] > stop.now_s - TOLD_EVERY_S - PAUSE_S_MAX


def test_a_service_that_refuses_after_it_was_away_is_told_at_once(stop: FakeStop, log: io.StringIO) -> None:
    errors: list[Exception] = [AWAY, AWAY, AccessDenied("it refuses"), AccessDenied("it refuses")]

    def ask() -> None:
        if errors:
            raise errors.pop(0)

    Patience(600, stop, denied_too=True).call("catalog", ask)
    assert [line.get("reason") for line in lines_of(log)] == ["the catalog is away", "it refuses", None]


def test_log_metrics_and_limit_count_from_the_first_question_that_was_not_answered(
    stop: FakeStop, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9 + stop.now_s)
    vitals = Vitals()

    def ask() -> None:
        stop.now_s += 10
        raise AWAY

    with pytest.raises(Unavailable):
        Patience(60, stop, vitals=vitals).call("storage", ask)
    assert vitals.outages["storage"].since_s == 1e9
    assert lines_of(log)[0]["waited_s"] == 10
    assert 45 < stop.now_s <= 70


def test_without_a_stop_signal_the_pauses_are_kept_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda _self, timeout: pauses_s.append(timeout))
    assert Patience(600).call("catalog", answers_after(3, AWAY)) == "answer"
    assert len(pauses_s) == 3
