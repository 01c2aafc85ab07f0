"""Event time of one Kafka partition: watermark, windows that close, rows that are late.

Bytewax's own EventClock moves the watermark with the wall clock (a downtime makes everything late), forgets it where no window
is open, and lets one event far ahead close everything. Here the watermark moves by event times alone:

    watermark = greatest event time seen - allowed lateness        (never runs back, survives a restart in the ledger)

A window is the tumbling interval `[open, close)`, with `close` a multiple of the window's length since 1970. It is closed when
watermark >= close. A row is late if its window was closed before the row came, as if rows came one by one. Lateness is
counted, nothing is dropped. Events too far ahead never come here: validation refuses them.

Pure: no clock. The idle timeout is the caller's; it calls `close_idle`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_NEVER = np.iinfo(np.int64).min // 2


@dataclass(frozen=True, slots=True)
class Observation:
    """What one batch did to the clock."""

    late: int
    closed: int
    """How many windows that held on-time rows have closed."""


@dataclass(slots=True)
class WindowClock:
    """Watermark and open windows of one Kafka partition; times in microseconds since the epoch.

    Its size is bounded: on-time rows lie between watermark and greatest event time, so at most
    `allowed lateness / window + 2` windows are open.
    """

    window_us: int
    lateness_us: int
    event_time_max: int | None = None
    watermark: int | None = None
    open: set[int] = field(default_factory=set)
    """The `close` of each open window that has seen an on-time row."""

    @classmethod
    def resume(
        cls, window_us: int, lateness_us: int, *, watermark: int | None, event_time_max: int | None
    ) -> WindowClock:
        """The clock as the ledger remembers it; the window of the greatest event time is open if it has not closed."""
        clock = cls(window_us, lateness_us, event_time_max, watermark)
        if event_time_max is not None:
            close = clock._close_of(event_time_max)
            if watermark is None or close > watermark:
                clock.open.add(close)
        return clock

    def observe(self, event_times: npt.NDArray[np.int64]) -> Observation:
        """Take the event times of a batch, in offset order; shape `(n,)`."""
        if event_times.size == 0:
            return Observation(0, 0)
        low, high = int(event_times.min()), int(event_times.max())
        greatest = high if self.event_time_max is None else max(high, self.event_time_max)
        watermark = self._risen(greatest)
        if self._close_of(low) > watermark:
            late = 0
            on_time = event_times
        else:
            late_rows = self._late(event_times)
            late = int(np.count_nonzero(late_rows))
            on_time = event_times[~late_rows]
        self._open_for(on_time)
        self.event_time_max, self.watermark = greatest, watermark
        return Observation(late, self._close_up_to(watermark))

    def close_idle(self) -> int:
        """Close every open window, because no message has come for the idle timeout; returns how many."""
        if not self.open:
            return 0
        self.watermark = max(*self.open, _NEVER if self.watermark is None else self.watermark)
        return self._close_up_to(self.watermark)

    def _close_of(self, event_time: int) -> int:
        return (event_time // self.window_us + 1) * self.window_us

    def _risen(self, greatest: int) -> int:
        by_events = greatest - self.lateness_us
        return by_events if self.watermark is None else max(by_events, self.watermark)

    def _late(self, event_times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        before = np.empty_like(event_times)
        before[0] = _NEVER if self.event_time_max is None else self.event_time_max
        before[1:] = event_times[:-1]
        np.maximum.accumulate(before, out=before)
        before -= self.lateness_us
        if self.watermark is not None:
            np.maximum(before, self.watermark, out=before)
        closes = (event_times // self.window_us + 1) * self.window_us
        return np.asarray(closes <= before)

    def _open_for(self, on_time: npt.NDArray[np.int64]) -> None:
        if on_time.size == 0:
            return
        first, last = self._close_of(int(on_time.min())), self._close_of(int(on_time.max()))
        if first == last:
            self.open.add(first)
        else:
            self.open.update(int(w + 1) * self.window_us for w in np.unique(on_time // self.window_us))

    def _close_up_to(self, watermark: int) -> int:
        closed = [close for close in self.open if close <= watermark]
        self.open.difference_update(closed)
        return len(closed)
