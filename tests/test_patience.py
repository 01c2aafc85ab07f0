"""Waiting out an outage: what is asked again, how the pauses grow, and what ends the waiting. No test waits."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from neptune_flow.errors import AccessDenied, LedgerConflict, StopRequested, Unavailable
from neptune_flow.patience import PAUSE_S_MAX, PAUSE_S_MIN, Patience
from neptune_flow.telemetry import configure_logging


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


def test_each_try_is_a_line_with_service_reason_and_limit_and_so_is_the_answer(
    stop: FakeStop, log: io.StringIO
) -> None:
    Patience(600, stop).call("catalog", answers_after(6, AWAY))
    lines = [json.loads(text) for text in log.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["waiting"] * 6 + ["answered"]
    first = {k: lines[0][k] for k in ("service", "reason", "detail", "hint", "limit_s")}
    assert first == {
        "service": "catalog",
        "reason": "the catalog is away",
        "detail": "connection refused",
        "hint": "start it",
        "limit_s": 600,
    }


def test_without_a_stop_signal_the_pauses_are_kept_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda _self, timeout: pauses_s.append(timeout))
    assert Patience(600).call("catalog", answers_after(3, AWAY)) == "answer"
    assert len(pauses_s) == 3
