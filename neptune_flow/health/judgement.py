"""The verdict on a process: alive or not, ready or not, and why. Pure: numbers in, words out; no clock, no network.

*Alive* means that it moves, or has nothing to do. It is not alive, and should be started anew, when it is **stuck**: it runs, there is
something to do, and for STUCK_AFTER_S no step has moved, while no outage explains it. To do is what Kafka holds and this process has not taken, or a
message that waits past the commit's limit; a window that is long open is nothing to do. An outage explains a standstill until it has lasted longer than the
flow itself would bear (NEPTUNE_RETRY_S_MAX) and STUCK_AFTER_S more. Starting and draining have limits of their own.

*Ready* means that what comes now will land in time. It is not ready while it starts or drains, while Kafka, storage or catalog is away, when a message has
waited for its commit past NEPTUNE_COMMIT_AGE_S_MAX and COMMIT_ALLOWANCE_S ("running but not committing"), and when it is stuck.

A service is away if its probe says so, or if the flow itself waits for it: each may notice first.

While storage or catalog is away reading stops, too, once the flow has something to write or to commit: that is said, since what waits in Kafka then is not the
topic's fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from neptune_flow.vitals import CATALOG, SERVICES, STORAGE, Phase, Vitals

STUCK_AFTER_S = 180.0
"""Longer than any single step may take: each call has a limit of seconds, and one that is repeated shows as an outage."""

PAUSED_AFTER_S = 15.0
"""Longer than reading rests between two batches, or for a commit."""

COMMIT_ALLOWANCE_S = 20.0
"""What is due waits for the end of the epoch (10 s by Bytewax's default), and then for the commit itself."""


class State(StrEnum):
    """Of a service that Neptune needs."""

    UNKNOWN = "unknown"
    """Not asked yet."""
    UP = "up"
    AWAY = "away"


class Service(NamedTuple):
    """What is known of a service."""

    state: State = State.UNKNOWN
    since_s: float | None = None
    """When it came into this state."""
    latency_ms: float | None = None
    """Of its last answer."""
    error: str = ""
    """Why it counts as away, in one sentence."""
    waited_since_s: float | None = None
    """Since when the flow itself waits for it; its limit counts from here."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen from beside the flow."""

    services: Mapping[str, Service] = field(default_factory=dict)
    readable: Mapping[int, int] = field(default_factory=dict)
    """Per Kafka partition, the offset after the last message that may be read."""
    still_s: float = 0.0
    """How long no step of the flow has moved."""
    read_still_s: float = 0.0
    """How long nothing has been read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that the verdict measures by, seconds."""

    commit_age_s_max: float
    retry_s_max: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """See the module's head."""

    live: bool
    ready: bool
    state: str
    """The phase, or `stuck`."""
    reasons: tuple[str, ...]
    """Why it is not ready, each in one sentence; empty where it is."""
    services: Mapping[str, Service]
    paused: str = ""
    """Why nothing is read though messages wait, in one sentence; empty where reading goes on, or has nothing to do."""


def judge(vitals: Vitals, seen: Seen, limits: Limits, now_s: float) -> Verdict:
    """The verdict at `now_s`, seconds since 1970-01-01."""
    services = {name: _with_outage(name, seen.services.get(name, Service()), vitals) for name in SERVICES}
    is_stuck = _is_stuck(vitals, seen, services, limits, now_s)
    paused = _paused(vitals, seen, services)
    reasons = [
        *_of_the_phase(vitals),
        *_of_services(services, now_s),
        *([paused] if paused else []),
        *_of_the_commit(vitals, limits, now_s),
        *([f"no step has moved for {seen.still_s:.0f} s though there is something to do"] if is_stuck else []),
    ]
    return Verdict(
        live=not is_stuck,
        ready=not reasons,
        state="stuck" if is_stuck else vitals.phase.value,
        reasons=tuple(reasons),
        services=services,
        paused=paused,
    )


def _with_outage(name: str, probed: Service, vitals: Vitals) -> Service:
    outage = vitals.outages.get(name)
    if outage is None:
        return probed
    if probed.state is not State.AWAY:
        return Service(State.AWAY, outage.since_s, probed.latency_ms, outage.error, outage.since_s)
    since_s = min(outage.since_s, probed.since_s or outage.since_s)
    return probed._replace(since_s=since_s, waited_since_s=outage.since_s)


def _is_stuck(vitals: Vitals, seen: Seen, services: Mapping[str, Service], limits: Limits, now_s: float) -> bool:
    if vitals.phase is not Phase.RUNNING or seen.still_s <= STUCK_AFTER_S:
        return False
    explained_s_max = limits.retry_s_max + STUCK_AFTER_S
    is_explained = any(
        s.state is State.AWAY and now_s - (s.since_s or now_s) <= explained_s_max for s in services.values()
    )
    return not is_explained and (_is_overdue(vitals, limits, now_s) or _unread(vitals, seen.readable) > 0)


def _unread(vitals: Vitals, readable: Mapping[int, int]) -> int:
    """Messages at most, of the partitions that this process reads; the client hears of a log's end only for those."""
    mine = ((n, p) for n, p in tuple(vitals.partitions.items()) if p.log_end is not None)
    return sum(max(0, readable.get(n, 0) - p.read_next) for n, p in mine if p.read_next is not None)


def _paused(vitals: Vitals, seen: Seen, services: Mapping[str, Service]) -> str:
    away = [name for name in (STORAGE, CATALOG) if services[name].state is State.AWAY]
    unread = _unread(vitals, seen.readable)
    if not away or not unread or vitals.phase is not Phase.RUNNING or seen.read_still_s <= PAUSED_AFTER_S:
        return ""
    return f"reading is paused for {seen.read_still_s:.0f} s until {away[0]} is back: {unread} messages wait in Kafka"


def _is_overdue(vitals: Vitals, limits: Limits, now_s: float) -> bool:
    since_s = vitals.waiting_since_s
    return since_s is not None and now_s - since_s > limits.commit_age_s_max + COMMIT_ALLOWANCE_S


def _of_the_phase(vitals: Vitals) -> Iterator[str]:
    if vitals.phase is not Phase.RUNNING:
        yield vitals.phase.value + (f" after {vitals.stop_reason}" if vitals.stop_reason else "")


def _of_services(services: Mapping[str, Service], now_s: float) -> Iterator[str]:
    # Many catalogs read the tables' metadata from the storage, and hang with it.
    is_storage_away = services[STORAGE].state is State.AWAY
    for name, service in services.items():
        if service.state is State.AWAY:
            waits = "; it may only wait for the storage" if name == CATALOG and is_storage_away else ""
            yield f"{name} has been away for {now_s - (service.since_s or now_s):.0f} s: {service.error}{waits}"


def _of_the_commit(vitals: Vitals, limits: Limits, now_s: float) -> Iterator[str]:
    if _is_overdue(vitals, limits, now_s):
        waited_s = now_s - (vitals.waiting_since_s or now_s)
        yield (
            f"running but not committing: the oldest message has waited for {waited_s:.0f} s, "
            f"its limit is {limits.commit_age_s_max:g} s"
        )
