"""What this process knows of itself while it runs: numbers that the flow's steps write, and that health, metrics, traces and the page read.

    reader ─► Partition.read_next, log_end …        judge ─► taken, rejects by kind        collector ─► watermark, open windows, waiting
    committer ─► CommitFacts, ledger                 patience, reader ─► outages             lifecycle ─► phase

Writing costs a few additions per message batch; nothing is done per message. A partition's numbers are written by the worker that reads, collects
or commits it; a lock guards the sums, to which all workers add. Who reads takes no lock, and may be a batch behind. In a cluster a process knows of
the partitions that it reads or collects, and only the process that commits knows of commits.

Nothing here decides, and no step of the flow reads it; but a member of a group gives its partitions up where `health` finds by it that the flow is stuck. Times are seconds since 1970-01-01 (wall clock); event times and watermarks are microseconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from neptune_flow.records import Judged, MessageBatch

ServiceName = Literal["kafka", "storage", "catalog"]
KAFKA: Final = "kafka"
STORAGE: Final = "storage"
CATALOG: Final = "catalog"
SERVICES: tuple[str, ...] = (KAFKA, STORAGE, CATALOG)
"""Whom Neptune needs, by the one name that each has in the log, the metrics and the health."""

COMMITS_KEPT = 50
SAMPLES_KEPT = 20
SAMPLE_BYTES_MAX = 2048
"""Of a refused message's value so much is kept, to be looked at."""

KINDS_MAX = 50
"""A contract's own validators may make up kinds of reasons; further ones are counted as OTHER_KIND."""
OTHER_KIND = "other"


class Phase(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    """Waits for its services, and reads where the table is."""
    RUNNING = "running"
    DRAINING = "draining"
    """Takes no more, commits what is there."""
    STOPPED = "stopped"


@dataclass(slots=True)
class Partition:
    """One Kafka partition, as this process sees it."""

    messages: int = 0
    """Taken and judged."""
    read_next: int | None = None
    """Offset after the last message that was taken."""
    log_end: int | None = None
    """Offset after the last message that Kafka holds, as the client, or the probe beside the flow (`health`), heard last."""
    ledger_next: int | None = None
    """Offset after the last one that is in the table."""
    watermark: int | None = None
    event_time_max: int | None = None
    idle: bool = False
    open_windows: int = 0
    waiting: int = 0
    """Messages that are collected and not yet emitted for a commit."""
    waiting_since_s: float | None = None
    """When the oldest of them came."""

    @property
    def lag(self) -> int | None:
        """Messages of Kafka's log that are not in the table yet; None where the ledger or the log's end is not known."""
        if self.log_end is None or self.ledger_next is None:
            return None
        return max(0, self.log_end - self.ledger_next)


class EntryLike(Protocol):
    """As much of a ledger's entry (`ledger.Entry`) as is told here."""

    @property
    def next(self) -> int: ...
    @property
    def watermark(self) -> int | None: ...
    @property
    def event_time_max(self) -> int | None: ...
    @property
    def idle(self) -> bool: ...


class Outage(NamedTuple):
    """A service that did not answer, or refused, and is asked again."""

    since_s: float
    """When the first question was asked that it did not answer: limits count from here."""
    last_s: float
    """When it was asked last."""
    tries: int
    error: str


class Sample(NamedTuple):
    """A refused message, to be looked at."""

    at_s: float
    partition: int
    offset: int
    field: str | None
    kind: str
    message: str
    value: bytes | None
    """At most its first SAMPLE_BYTES_MAX bytes."""


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """One commit that has landed in both tables."""

    began_s: float
    written_s: float
    """When the data files were in the storage and Kafka had told that the topic is still the same."""
    quarantined_s: float
    landed_s: float
    snapshot: int | None
    quarantine_snapshot: int | None
    """None where nothing was refused."""
    ranges: Mapping[int, tuple[int, int]]
    """Per Kafka partition the offsets `[first, next)` that it took."""
    rows: int
    rejects: int
    late: int
    left_out: int
    lost: int
    files: int
    file_bytes: int
    reject_files: int
    reject_file_bytes: int
    watermark_least: int | None
    attempts: int
    lost_races: int
    unknown: int
    """Attempts whose answer was lost, and that were looked up."""


class Spell(NamedTuple):
    """When a stage did something, from the first time to the last, and how long it took in all."""

    first_s: float
    last_s: float
    busy_s: float


class Held(NamedTuple):
    """How much of something is held, and how much may be."""

    now: int
    most: int


@dataclass(slots=True)
class Vitals:
    """See the module's head."""

    _adding: threading.Lock = field(default_factory=threading.Lock, repr=False)
    began_s: float = field(default_factory=time.time)
    phase: Phase = Phase.STARTING
    stop_reason: str = ""
    """Why the process ends, once it does: the error's name, or the signal's."""
    partitions: dict[int, Partition] = field(default_factory=dict)

    taken_bytes: int = 0
    """Of the values that the client handed over."""
    rows: int = 0
    """Accepted; committed or not."""
    rejects: Counter[str] = field(default_factory=Counter)
    """By the kind of the first reason; committed or not."""
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES_KEPT))
    busy_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Time spent per stage: `read`, `validate`, `spool`."""
    spells: dict[str, Spell] = field(default_factory=dict)
    """The same since `take_spells`; of `read` only what brought something."""

    commits_here: bool = False
    """Whether this process has the committer. What the others of a cluster know of the ledger is what it said at their start."""
    commits: deque[CommitFacts] = field(default_factory=lambda: deque(maxlen=COMMITS_KEPT))
    """The newest last."""
    committed: Counter[str] = field(default_factory=Counter)
    """Sums of the fields of all CommitFacts, and `commits`."""
    on_commit: list[Callable[[CommitFacts], None]] = field(default_factory=list)
    """Called on the committer's thread after each commit; must not raise, and not wait."""
    last_commit_s: float | None = None
    """When the table's ledger moved last, also before this process began."""
    watermark_least: int | None = None
    """Event time up to which the table is complete: no on-time row is older; as the table's ledger says."""
    gathered_since_s: float | None = None
    """When the first of the stretches came that the committer holds."""

    outages: dict[str, Outage] = field(default_factory=dict)
    """Services that the flow waits for now."""
    retries: Counter[str] = field(default_factory=Counter)
    away_since: Callable[[], Mapping[str, float | None]] = dict
    """Per service since when it has been away, None where it answers; of those that are watched from beside the flow (`health`). Asked when somebody looks."""

    held: dict[str, Callable[[], Held]] = field(default_factory=dict)
    """What has a limit, by name; asked when somebody looks."""

    def partition(self, number: int) -> Partition:
        """The numbers of one Kafka partition."""
        found = self.partitions.get(number)
        return self.partitions.setdefault(number, Partition()) if found is None else found

    # The flow's side

    def begin_anew(self) -> None:
        """A flow begins in this process, perhaps over other partitions."""
        self.enter(Phase.STARTING)
        self.forget()

    def enter(self, phase: Phase) -> None:
        """The flow has come so far; one that drains does not go back."""
        if self.phase not in (Phase.DRAINING, Phase.STOPPED):
            self.phase = phase

    def forget(self) -> None:
        """A flow has ended, and what it held is gone: others may have its partitions. Sums go on."""
        self.gathered_since_s = None
        self.partitions.clear()
        self.outages.clear()

    def taken(self, value_bytes: int) -> None:
        """The client has handed over messages."""
        with self._adding:
            self.taken_bytes += value_bytes

    def knows(self, entries: Mapping[int, EntryLike], watermark_least: int | None, last_commit_s: float | None) -> None:
        """What the table's ledger says at the start."""
        self.last_commit_s, self.watermark_least = last_commit_s, watermark_least
        for number, entry in entries.items():
            partition = self.partition(number)
            partition.ledger_next = partition.read_next = entry.next
            partition.watermark, partition.event_time_max, partition.idle = (
                entry.watermark,
                entry.event_time_max,
                entry.idle,
            )

    @contextmanager
    def spending(self, stage: str) -> Iterator[None]:
        """Count the time that a stage takes; several threads may."""
        began_s, began_at_s, had_bytes = time.perf_counter(), time.time(), self.taken_bytes
        try:
            yield
        finally:
            with self._adding:
                took_s = time.perf_counter() - began_s
                self.busy_s[stage] += took_s
                if stage != "read" or self.taken_bytes > had_bytes:
                    first_s, _, busy_s = self.spells.get(stage) or Spell(began_at_s, began_at_s, 0.0)
                    self.spells[stage] = Spell(first_s, began_at_s + took_s, busy_s + took_s)

    def take_spells(self) -> dict[str, Spell]:
        """What each stage did since this was called last."""
        with self._adding:
            spells, self.spells = self.spells, {}
        return spells

    def judged(self, batch: MessageBatch, judged: Judged) -> None:
        """A batch has its verdicts."""
        partition = self.partition(batch.partition)
        partition.messages += len(batch.messages)
        partition.read_next = batch.next
        with self._adding:
            self.rows += judged.rows.num_rows
            if judged.rejects.num_rows:
                self._refused(judged.rejects)

    def _refused(self, rejects: pa.RecordBatch) -> None:
        firsts = pc.list_element(rejects.column("reasons"), 0)
        for found in pc.value_counts(firsts.field("kind")).to_pylist():
            kind = found["values"]
            self.rejects[kind if kind in self.rejects or len(self.rejects) < KINDS_MAX else OTHER_KIND] += found[
                "counts"
            ]
        last = rejects.slice(rejects.num_rows - 1)
        reason = last.column("reasons")[0].as_py()[0]
        value = last.column("value")[0].as_buffer()
        self.samples.append(
            Sample(
                time.time(),
                last.column("partition")[0].as_py(),
                last.column("offset")[0].as_py(),
                reason["field"],
                reason["kind"],
                reason["message"],
                value if value is None else value.slice(0, min(value.size, SAMPLE_BYTES_MAX)).to_pybytes(),
            )
        )

    def has_committed(self, facts: CommitFacts) -> None:
        """A commit has landed."""
        self.gathered_since_s = None
        self.last_commit_s, self.watermark_least = facts.landed_s, facts.watermark_least
        self.commits.append(facts)
        self.committed["commits"] += 1
        for name in _SUMMED:
            self.committed[name] += getattr(facts, name)
        for number, (_, next_offset) in facts.ranges.items():
            self.partition(number).ledger_next = next_offset
        for tell in self.on_commit:
            tell(facts)

    def waits_for(self, service: str, error: str | None, waited_s: float = 0.0) -> None:
        """A service does not answer, or refuses, after so many seconds; no error: it has answered again."""
        if error is None:
            self.outages.pop(service, None)
            return
        now_s = time.time()
        with self._adding:
            since_s, _, tries, _ = self.outages.get(service) or Outage(now_s - waited_s, now_s, 0, "")
            self.outages[service] = Outage(since_s, now_s, tries + 1, error)
            self.retries[service] += 1

    # The readers' side

    @property
    def waiting_since_s(self) -> float | None:
        """When the oldest message came that is not committed yet; None where there is none."""
        since = [p.waiting_since_s for p in tuple(self.partitions.values()) if p.waiting_since_s is not None]
        if self.gathered_since_s is not None:
            since.append(self.gathered_since_s)
        return min(since, default=None)


def memory_bytes() -> int | None:
    """Memory that this process holds now; None where the system does not say it (it is Linux's to say)."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


_SUMMED = (
    "rows",
    "rejects",
    "late",
    "left_out",
    "lost",
    "files",
    "file_bytes",
    "reject_files",
    "reject_file_bytes",
    "attempts",
    "lost_races",
    "unknown",
)
