"""Event time: watermark, windows that close, rows that are late; held beside a reference that takes row by row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune_flow.windows import Observation, WindowClock

WINDOW_US, LATENESS_US = 60, 10
TIMES = st.lists(st.integers(-300, 600), max_size=30)
LENGTHS = st.integers(1, 100)
LATENESS = st.integers(0, 200)


@dataclass
class OneByOne:
    """The rule in its plainest form: rows come one by one."""

    window_us: int
    lateness_us: int
    watermark: int | None = None
    open: set[int] = field(default_factory=set)
    late: int = 0
    closed: int = 0

    def take(self, event_time: int) -> None:
        close = event_time - event_time % self.window_us + self.window_us
        if self.watermark is not None and close <= self.watermark:
            self.late += 1
        else:
            self.open.add(close)
        by_event = event_time - self.lateness_us
        self.watermark = by_event if self.watermark is None else max(self.watermark, by_event)
        closing = {c for c in self.open if c <= self.watermark}
        self.open -= closing
        self.closed += len(closing)


def _clock() -> WindowClock:
    return WindowClock(WINDOW_US, LATENESS_US)


def _observe(clock: WindowClock, *event_times: int) -> Observation:
    return clock.observe(np.array(event_times, np.int64))


@settings(deadline=None)
@given(LENGTHS, LATENESS, st.lists(TIMES, max_size=6))
def test_a_batch_is_judged_as_if_its_rows_came_one_by_one(
    window_us: int, lateness_us: int, batches: list[list[int]]
) -> None:
    clock, reference = WindowClock(window_us, lateness_us), OneByOne(window_us, lateness_us)
    for batch in batches:
        late, closed = reference.late, reference.closed
        for event_time in batch:
            reference.take(event_time)
        expected = Observation(reference.late - late, reference.closed - closed)
        assert _observe(clock, *batch) == expected
        assert (clock.watermark, clock.open) == (reference.watermark, reference.open)


@settings(deadline=None)
@given(LENGTHS, LATENESS, st.lists(TIMES, max_size=6), st.integers(0, 5))
def test_the_watermark_never_runs_back_and_no_open_window_lies_below_it(
    window_us: int, lateness_us: int, batches: list[list[int]], idle_after: int
) -> None:
    clock, before = WindowClock(window_us, lateness_us), None
    for number, batch in enumerate(batches):
        _observe(clock, *batch)
        if number == idle_after:
            clock.close_idle()
        assert before is None or (clock.watermark is not None and clock.watermark >= before)
        assert clock.watermark is None or all(close > clock.watermark for close in clock.open)
        assert len(clock.open) <= lateness_us // window_us + 2
        before = clock.watermark


def test_the_watermark_is_the_greatest_event_time_less_the_allowed_lateness() -> None:
    clock = _clock()
    _observe(clock, 100, 130, 90)
    assert (clock.watermark, clock.event_time_max) == (120, 130)


def test_a_window_closes_once_the_watermark_reaches_its_end_and_not_before() -> None:
    clock = _clock()
    assert _observe(clock, 5, 59, 69).closed == 0
    assert _observe(clock, 70).closed == 1
    assert clock.open == {120}


def test_a_row_is_on_time_until_its_window_has_closed_however_old_it_is() -> None:
    clock = _clock()
    assert _observe(clock, 69, 0).late == 0
    assert _observe(clock, 70).late == 0
    assert _observe(clock, 59).late == 1


def test_a_row_that_closes_a_window_makes_those_after_it_late_in_the_same_batch() -> None:
    assert _observe(_clock(), 0, 70, 59) == Observation(late=1, closed=1)
    assert _observe(_clock(), 0, 59, 70) == Observation(late=0, closed=1)


def test_late_rows_open_no_window() -> None:
    clock = _clock()
    _observe(clock, 500)
    _observe(clock, 1, 2, 3)
    assert clock.open == {540}


def test_an_empty_batch_changes_nothing() -> None:
    clock = _clock()
    assert _observe(clock) == Observation(0, 0)
    assert (clock.watermark, clock.event_time_max, clock.open) == (None, None, set())


def test_idleness_closes_every_open_window_and_moves_the_watermark_to_the_last_end() -> None:
    clock = _clock()
    _observe(clock, 55, 65)
    assert clock.close_idle() == 2
    assert (clock.watermark, clock.open) == (120, set())
    assert clock.close_idle() == 0


def test_a_row_of_a_window_that_idleness_has_closed_is_late() -> None:
    clock = _clock()
    _observe(clock, 5)
    clock.close_idle()
    assert _observe(clock, 6, 60) == Observation(late=1, closed=0)


def test_idleness_without_any_row_leaves_the_watermark_unknown() -> None:
    clock = _clock()
    assert clock.close_idle() == 0
    assert clock.watermark is None


def test_a_clock_resumes_with_the_window_of_the_greatest_event_time_open() -> None:
    clock = WindowClock.resume(WINDOW_US, LATENESS_US, watermark=90, event_time_max=100)
    assert clock.open == {120}
    assert _observe(clock, 40, 131) == Observation(late=1, closed=1)


def test_a_clock_does_not_open_again_what_idleness_has_closed() -> None:
    clock = WindowClock.resume(WINDOW_US, LATENESS_US, watermark=120, event_time_max=100)
    assert clock.open == set()
    assert _observe(clock, 119).late == 1


def test_a_clock_that_the_ledger_does_not_know_begins_empty() -> None:
    clock = WindowClock.resume(WINDOW_US, LATENESS_US, watermark=None, event_time_max=None)
    assert (clock.watermark, clock.open) == (None, set())


@settings(deadline=None)
@given(TIMES.filter(bool), TIMES)
def test_a_restart_moves_neither_watermark_nor_lateness(before: list[int], after: list[int]) -> None:
    one = _clock()
    _observe(one, *before)
    other = WindowClock.resume(WINDOW_US, LATENESS_US, watermark=one.watermark, event_time_max=one.event_time_max)
    assert _observe(one, *after).late == _observe(other, *after).late
    assert one.watermark == other.watermark


@pytest.mark.parametrize("event_time", [-1, -60, -61])
def test_windows_before_1970_are_as_long_as_any_other(event_time: int) -> None:
    clock = _clock()
    _observe(clock, event_time)
    (close,) = clock.open
    assert close % WINDOW_US == 0
    assert close - WINDOW_US <= event_time < close
