"""Waiting out an outage: the same question again, with growing pauses, until it is answered, the limit passes or a stop comes.

Used at the start (each outside world is waited for) and while running (storage and catalog). What is retried is named: `Unavailable`, and
while running `AccessDenied` too, since a policy or a token may be mended under a running process. Nothing that may have changed the
table is repeated here: an attempt to commit has an outcome, and the protocol decides what follows.

A race that was lost to another writer of the table (LostRace) is no outage: it is tried again soon, and told only when it lasts.

An outage has one clock: it begins when the first question was asked that was not answered. The limit counts from there, and log and metrics tell it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity

from neptune_flow.errors import AccessDenied, LostRace, NeptuneError, StopRequested, Unavailable
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import ServiceName, Vitals

log = get_logger("neptune")

T = TypeVar("T")

PAUSE_S_MIN = 0.2
PAUSE_S_MAX = 5.0
"""Pauses double from the least to the most, with jitter so that several processes do not come back in step."""

RACE_PAUSE_S_MAX = 1.0
"""Who has lost a race to another writer comes back soon, at a moment of its own: who has lost often must not be the one that waits longest."""

_GROWING = tenacity.wait_exponential_jitter(multiplier=PAUSE_S_MIN, max=PAUSE_S_MAX, jitter=PAUSE_S_MIN)
_RACING = tenacity.wait_random_exponential(multiplier=PAUSE_S_MIN, max=RACE_PAUSE_S_MAX)

TOLD_EVERY_S = 30.0
"""An outage is told when it begins, and then only so often: each line says the same, but for the time."""


class Patience:
    """How long an outage may last, and what ends the waiting early."""

    def __init__(
        self,
        limit_s: float,
        stopping: threading.Event | None = None,
        *,
        denied_too: bool = False,
        vitals: Vitals | None = None,
    ) -> None:
        """Wait at most `limit_s` seconds a call; end early with StopRequested once `stopping` is set."""
        self.limit_s = limit_s
        self._vitals = vitals or Vitals()
        self._stopping = stopping
        self._waits_for = (Unavailable, AccessDenied) if denied_too else (Unavailable,)

    def call(self, service: ServiceName, ask: Callable[[], T]) -> T:
        """The answer to `ask`, which is called until it gives one; `service` is whom it asks.

        Raises:
            Unavailable, AccessDenied: what `ask` raised last, when the limit has passed.
            StopRequested: a stop came meanwhile.
        """
        outage = _Outage(service, self.limit_s, self._vitals)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(self._waits_for),
            stop=tenacity.stop_before_delay(self.limit_s),
            wait=lambda state: (_RACING if isinstance(_error_of(state), LostRace) else _GROWING)(state),
            sleep=self._pause,
            before_sleep=outage.goes_on,
            reraise=True,
        )
        answer = retrying(ask)
        outage.ends()
        return answer

    def _pause(self, seconds: float) -> None:
        if self._stopping is None:
            threading.Event().wait(seconds)
        elif self._stopping.wait(seconds):
            raise StopRequested("stopped while waiting")


class _Outage:
    """Tells of one call's waiting, if there is any."""

    def __init__(self, service: ServiceName, limit_s: float, vitals: Vitals) -> None:
        self._service = service
        self._limit_s = limit_s
        self._vitals = vitals
        self._began_s = time.monotonic()
        self._told: tuple[type[BaseException], float] | None = None
        """Which kind of error was told last, and when."""

    def goes_on(self, state: tenacity.RetryCallState) -> None:
        error = _error_of(state)
        assert isinstance(error, NeptuneError)  # noqa: S101 - nothing else is waited for
        now_s = time.monotonic()
        if not isinstance(error, LostRace):
            self._vitals.waits_for(self._service, error.primary, now_s - self._began_s)
        elif now_s - self._began_s < TOLD_EVERY_S:
            return
        if self._told and self._told[0] is type(error) and now_s - self._told[1] < TOLD_EVERY_S:
            return
        self._told = type(error), now_s
        log.warning(
            "waiting",
            service=self._service,
            reason=error.primary,
            detail=error.detail,
            hint=error.hint,
            waited_s=round(now_s - self._began_s, 1),
            limit_s=self._limit_s,
        )

    def ends(self) -> None:
        if self._told:
            log.info("answered", service=self._service, after_s=round(time.monotonic() - self._began_s, 1))
        self._vitals.waits_for(self._service, None)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
