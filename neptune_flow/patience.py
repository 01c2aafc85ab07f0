"""Waiting out an outage: the same question again, with growing pauses, until it is answered, the limit passes or a stop comes.

Used at the start (each outside world is waited for) and while running (storage and catalog). What is retried is named: `Unavailable`, and
while running `AccessDenied` too, since a policy or a token may be mended under a running process. Nothing that may have changed the
table is repeated here: an attempt to commit has an outcome, and the protocol decides what follows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import tenacity

from neptune_flow.errors import AccessDenied, NeptuneError, StopRequested, Unavailable
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import Vitals

log = get_logger("neptune")

T = TypeVar("T")

PAUSE_S_MIN = 0.2
PAUSE_S_MAX = 5.0
"""Pauses double from the least to the most, with jitter so that several processes do not come back in step."""


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

    def call(self, what: str, ask: Callable[[], T]) -> T:
        """The answer to `ask`, which is called until it gives one; `what` names the service in the log.

        Raises:
            Unavailable, AccessDenied: what `ask` raised last, when the limit has passed.
            StopRequested: a stop came meanwhile.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(self._waits_for),
            stop=tenacity.stop_before_delay(self.limit_s),
            wait=tenacity.wait_exponential_jitter(multiplier=PAUSE_S_MIN, max=PAUSE_S_MAX, jitter=PAUSE_S_MIN),
            sleep=self._pause,
            before_sleep=lambda state: self._tell(what, state),
            reraise=True,
        )
        answer = retrying(ask)
        if (waited_s := retrying.statistics.get("delay_since_first_attempt", 0.0)) > 1.0:
            log.info("answered", service=what, after_s=round(waited_s, 1))
        self._vitals.waits_for(what, None)
        return answer

    def _pause(self, seconds: float) -> None:
        if self._stopping is None:
            threading.Event().wait(seconds)
        elif self._stopping.wait(seconds):
            raise StopRequested("stopped while waiting")

    def _tell(self, what: str, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        detail = (error.primary, error.detail, error.hint) if isinstance(error, NeptuneError) else (str(error), "", "")
        self._vitals.waits_for(what, detail[0])
        log.warning(
            "waiting",
            service=what,
            reason=detail[0],
            detail=detail[1],
            hint=detail[2],
            waited_s=round(state.seconds_since_start or 0.0, 1),
            limit_s=self.limit_s,
        )
