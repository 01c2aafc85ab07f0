"""How the numbers of the metrics come from what the process knows of itself (`vitals`), and under which attributes.

Reading is all that happens here, and only when somebody looks. The number of series is bounded: by the topic's partitions, by the kinds of
rejects that the vitals tell apart, and by lists in the code.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from neptune_flow import __version__
from neptune_flow.vitals import Partition, Phase, Vitals, memory_bytes

PARTITION = "messaging.destination.partition.id"
KIND = "neptune.reject.kind"
OUTCOME = "neptune.commit.outcome"
COMMIT_PHASE = "neptune.commit.phase"
FATE = "neptune.offset.fate"
TABLE = "neptune.table"
BUFFER = "neptune.buffer"
STAGE = "neptune.stage"
SERVICE = "neptune.service"
PHASE = "neptune.phase"
STOP_REASON = "neptune.stop.reason"
CONTRACT = "neptune.contract"


@dataclass(frozen=True, slots=True)
class About:
    """What a process says of itself with its numbers."""

    topic: str
    group: str
    table: str
    contract: str
    memory_bytes_max: int
    commit_rows_max: int


Point = tuple[float, Mapping[str, str]]
"""A number, and the values of the metric's attributes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Who is asked, and when (seconds since 1970-01-01)."""

    vitals: Vitals
    about: About
    now_s: float

    def of_partitions(self, number: Callable[[Partition], float | None]) -> Iterable[Point]:
        """One point for each Kafka partition of which the number is known."""
        for partition, of_it in sorted(self.vitals.partitions.copy().items()):
            value = number(of_it)
            if value is not None:
                yield value, {PARTITION: str(partition)}

    def of_ledger(self, number: Callable[[Partition], float | None]) -> Iterable[Point]:
        """The same of what the ledger says, which only the process that commits knows."""
        return self.of_partitions(number) if self.vitals.commits_here else ()

    def age_s(self, since_s: float | None) -> Iterable[Point]:
        """How long ago that was; nothing where it has not been."""
        return [] if since_s is None else [(max(0.0, self.now_s - since_s), {})]

    def sums(self, attribute: str, names: Mapping[str, str]) -> Iterable[Point]:
        """Sums over all commits: the attribute's values, and the names of their sums."""
        return [(self.vitals.committed[name], {attribute: value}) for value, name in names.items()]


def consumed(seen: Seen) -> Iterable[Point]:
    common = {
        "messaging.system": "kafka",
        "messaging.operation.name": "poll",
        "messaging.destination.name": seen.about.topic,
        "messaging.consumer.group.name": seen.about.group,
    }
    return [(count, {**common, **partition}) for count, partition in seen.of_partitions(lambda p: p.messages)]


def rejects(seen: Seen) -> Iterable[Point]:
    return [(count, {KIND: kind}) for kind, count in seen.vitals.rejects.copy().items()]


def watermark_age_s(seen: Seen) -> Iterable[Point]:
    return seen.of_partitions(lambda p: None if p.watermark is None else seen.now_s - p.watermark / 1e6)


def freshness_s(seen: Seen) -> Iterable[Point]:
    return seen.age_s(seen.vitals.last_commit_s if seen.vitals.commits_here else None)


def least_watermark_age_s(seen: Seen) -> Iterable[Point]:
    least = seen.vitals.watermark_least if seen.vitals.commits_here else None
    return [] if least is None else [(seen.now_s - least / 1e6, {})]


def waiting_age_s(seen: Seen) -> Iterable[Point]:
    return seen.age_s(seen.vitals.waiting_since_s) or [(0.0, {})]


def held(seen: Seen, which: int) -> Iterable[Point]:
    held = seen.vitals.held.copy().items()
    return [(ask()[which], {BUFFER: name.removesuffix("_bytes")}) for name, ask in held if name.endswith("_bytes")]


def stage_times_s(seen: Seen) -> Iterable[Point]:
    return [(took_s, {STAGE: stage}) for stage, took_s in seen.vitals.busy_s.copy().items()]


def retries(seen: Seen) -> Iterable[Point]:
    return [(count, {SERVICE: service}) for service, count in seen.vitals.retries.copy().items()]


def outages_s(seen: Seen) -> Iterable[Point]:
    """Zero once a service that was away has answered, so that the series ends its alarm by itself."""
    away = seen.vitals.outages.copy()
    return [
        (max(0.0, seen.now_s - away[service].since_s) if service in away else 0.0, {SERVICE: service})
        for service in seen.vitals.retries.copy()
    ]


def services_up(seen: Seen) -> Iterable[Point]:
    return [(float(since_s is None), {SERVICE: name}) for name, since_s in seen.vitals.away_since().items()]


def services_away_s(seen: Seen) -> Iterable[Point]:
    found = seen.vitals.away_since().items()
    return [(0.0 if since_s is None else max(0.0, seen.now_s - since_s), {SERVICE: name}) for name, since_s in found]


def phase(seen: Seen) -> Iterable[Point]:
    return [(float(phase is seen.vitals.phase), {PHASE: phase.value}) for phase in Phase]


def stops(seen: Seen) -> Iterable[Point]:
    return [(1, {STOP_REASON: seen.vitals.stop_reason})] if seen.vitals.stop_reason else []


def resident_bytes(_seen: Seen) -> Iterable[Point]:
    held = memory_bytes()
    return [] if held is None else [(held, {})]


_ENGINE_VERSION = version("bytewax")
"""Read from the package's files: once, not at each scrape."""


def build(seen: Seen) -> Iterable[Point]:
    facts = {"service.version": __version__, "bytewax.version": _ENGINE_VERSION, CONTRACT: seen.about.contract}
    return [(1, {**facts, "process.runtime.version": platform.python_version(), TABLE: seen.about.table})]
