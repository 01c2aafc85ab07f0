"""What is watched from beside the flow while a process runs: the services by their probes, and whether the steps move.

What no step of the flow can say of itself is logged here: that reading is paused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from neptune_flow.health.judgement import Limits, Seen, State, Verdict, judge
from neptune_flow.health.probes import Places, Probe
from neptune_flow.settings import Settings
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import Partition, Phase, Vitals

log = get_logger("neptune.health")

LOOK_INTERVAL_S = 5.0
NOT_LOOKED_S_MAX = 20.0
"""If nobody looked for so long, the whole process stood still (a machine that slept, a frozen container): that says nothing of its steps."""


class HealthWatch:
    """The health of this process; one a process."""

    def __init__(self, settings: Settings, vitals: Vitals) -> None:
        self._vitals = vitals
        self._limits = Limits(settings.commit_age_s_max, settings.retry_s_max)
        self._places = Places(settings, vitals)
        self._probes: tuple[Probe, ...] = ()
        self._movement = Movement(lambda: _steps(vitals))
        self._reading = Movement(lambda: [p.read_next for _, p in _partitions(vitals)])
        self._is_paused = False

    def start(self) -> None:
        """Begin to ask, in threads that end with the process."""
        self._probes = self._places.start(self._may_ask)
        self._vitals.away_since = self._away_since
        threading.Thread(target=self._look, name="health", daemon=True).start()

    def _look(self) -> None:
        while True:
            self._tell_reading(self.verdict())
            time.sleep(LOOK_INTERVAL_S)

    def _tell_reading(self, verdict: Verdict) -> None:
        if bool(verdict.paused) is self._is_paused or self._vitals.phase is not Phase.RUNNING:
            return
        self._is_paused = not self._is_paused
        if self._is_paused:
            log.warning("reading_paused", reason=verdict.paused)
        else:
            log.info("reading_resumed")

    def _away_since(self) -> dict[str, float | None]:
        found = self.verdict().services.items()
        return {n: s.since_s if s.state is State.AWAY else None for n, s in found if s.state is not State.UNKNOWN}

    def _may_ask(self) -> bool:
        return self._vitals.phase is not Phase.STARTING

    def verdict(self) -> Verdict:
        """The verdict now; cheap, asks nobody."""
        now_s = time.time()
        services = {probe.name: probe.service(now_s) for probe in self._probes}
        seen = Seen(services, self._places.readable, self._movement.still_s(), self._reading.still_s())
        return judge(self._vitals, seen, self._limits, now_s)


class Movement:
    """How long a trace of the flow has been the same."""

    def __init__(self, trace_now: Callable[[], object], *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._trace_now = trace_now
        self._clock_s = clock_s
        self._trace: object = None
        self._looked_at_s = self._moved_at_s = clock_s()

    def still_s(self) -> float:
        """Look, and say for how many seconds nothing has moved; to be asked at least every NOT_LOOKED_S_MAX."""
        now_s, trace = self._clock_s(), self._trace_now()
        if trace != self._trace or now_s - self._looked_at_s > NOT_LOOKED_S_MAX:
            self._trace, self._moved_at_s = trace, now_s
        self._looked_at_s = now_s
        return now_s - self._moved_at_s


def _partitions(vitals: Vitals) -> list[tuple[int, Partition]]:
    return sorted(vitals.partitions.copy().items())


def _steps(vitals: Vitals) -> object:
    """Whatever a step that moves leaves behind."""
    parts = [(p.messages, p.read_next, p.ledger_next, p.waiting, p.watermark) for _, p in _partitions(vitals)]
    return parts, vitals.committed["commits"], sum(tuple(vitals.retries.values())), vitals.phase
