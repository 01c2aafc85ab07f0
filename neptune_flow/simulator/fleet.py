"""Vehicles that drive orders from start to end and report after each interval, as an endless stream of messages.

Event time is the fleet's own: it begins at `start`, and each round of all vehicles takes `interval_s`. A producer that wants it to
run with the clock sends `vehicles / interval_s` messages per second.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple
from uuid import UUID

from neptune_flow.simulator.bad import BAD_KINDS, BadKind

_CITIES = ((40.7128, -74.0060), (51.5074, -0.1278), (52.5200, 13.4050), (35.6762, 139.6503), (-33.8688, 151.2093))
_CITY_RADIUS_DEG = 0.12
_JITTER_DEG = 0.0002
_REPORTS_MIN, _REPORTS_MAX = 12, 120
"""Reports of one session, the one that starts and the one that completes it among them."""
_LATE_S_MIN, _LATE_S_MAX = 300, 3600
"""How far back the event time of a late message lies: more than a window and the allowed lateness."""
HEADERS: tuple[tuple[str, bytes], ...] = (("content-type", b"application/json"), ("origin", b"neptune-simulator"))


class SimulatedMessage(NamedTuple):
    """A message ready to be produced, and what must become of it."""

    key: bytes
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...]
    bad: BadKind | None
    """How it was spoiled; None where it must become a row."""


class Fleet:
    """All vehicles; iterating gives their messages without end, the same ones for the same arguments."""

    def __init__(
        self,
        seed: int,
        *,
        start: datetime,
        vehicles: int = 1000,
        interval_s: float = 1.0,
        bad_share: float = 0.01,
        late_share: float = 0.0,
        kinds: tuple[BadKind, ...] = BAD_KINDS,
    ) -> None:
        """`start` must be aware; the shares are parts of 1 of all messages, bad ones of all kinds alike."""
        self._seed = seed
        self._start = start.astimezone(UTC)
        self._vehicles = vehicles
        self._interval = timedelta(seconds=interval_s)
        self._bad_share = bad_share
        self._late_share = late_share
        self._kinds = kinds

    def __iter__(self) -> Iterator[SimulatedMessage]:
        rng = Random(self._seed)  # noqa: S311 (reproducible, not secret)
        fleet = [_Vehicle(rng) for _ in range(self._vehicles)]
        step = self._interval / len(fleet)
        now = self._start
        while True:
            for vehicle in fleet:
                yield self._message(vehicle, now, rng)
                now += step

    def _message(self, vehicle: _Vehicle, now: datetime, rng: Random) -> SimulatedMessage:
        late = self._late_share and rng.random() < self._late_share
        event_time = now - timedelta(seconds=rng.uniform(_LATE_S_MIN, _LATE_S_MAX)) if late else now
        value: bytes | None = vehicle.report(event_time, rng)
        bad = rng.choice(self._kinds) if self._bad_share and rng.random() < self._bad_share else None
        if bad is not None and value is not None:
            value = bad.spoil(value, rng)
        return SimulatedMessage(vehicle.key, value, int(now.timestamp() * 1000), HEADERS, bad)


class _Vehicle:
    """One vehicle with its present session; the parts of its messages that stay the same are kept as text."""

    def __init__(self, rng: Random) -> None:
        self._ids = f'{{"device_id": "{_uuid(rng)}", "vehicle_id": "{(vehicle_id := _uuid(rng))}"'
        self._city = rng.choice(_CITIES)
        self.key = vehicle_id.encode()
        self._begin(rng)
        self._report = rng.randrange(self._reports)

    def _begin(self, rng: Random) -> None:
        self._reports = rng.randint(_REPORTS_MIN, _REPORTS_MAX)
        self._report = 0
        self._from, self._to = self._somewhere(rng), self._somewhere(rng)
        self._head = f'{self._ids}, "session_id": "{_uuid(rng)}", "order_id": "{_uuid(rng)}", "status": "'
        self._route = (
            f'"start_lat": {self._from[0]!r}, "start_lon": {self._from[1]!r}, '
            f'"end_lat": {self._to[0]!r}, "end_lon": {self._to[1]!r}, "current_lat": '
        )

    def _somewhere(self, rng: Random) -> tuple[float, float]:
        lat, lon = self._city
        return (
            lat + rng.uniform(-_CITY_RADIUS_DEG, _CITY_RADIUS_DEG),
            lon + rng.uniform(-_CITY_RADIUS_DEG, _CITY_RADIUS_DEG),
        )

    def report(self, event_time: datetime, rng: Random) -> bytes:
        """The next message of the session; after the last one another session begins."""
        if self._report == self._reports:
            self._begin(rng)
        last = self._reports - 1
        status = "started" if self._report == 0 else "completed" if self._report == last else "en_route"
        done = self._report / last
        lat = self._from[0] + (self._to[0] - self._from[0]) * done + (rng.random() - 0.5) * _JITTER_DEG
        lon = self._from[1] + (self._to[1] - self._from[1]) * done + (rng.random() - 0.5) * _JITTER_DEG
        self._report += 1
        time = event_time.isoformat(timespec="microseconds")[:-6]
        text = f'{self._head}{status}", "timestamp": "{time}Z", {self._route}{lat!r}, "current_lon": {lon!r}}}'
        return text.encode()


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))
