"""Does data land, how fresh and how complete is it: read from the tables and Kafka alone, so no running Neptune is needed.

The verdict is one sentence. What waits in Kafka is late only if its oldest message has waited for longer than `NEPTUNE_COMMIT_AGE_S_MAX` lets it:
Kafka's time of that message is asked, since the lag alone does not tell a burst of a second ago from an hour without a commit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from neptune_flow.errors import NeptuneError
from neptune_flow.iceberg.reading import SnapshotInfo
from neptune_flow.inspection.opening import log_or_why
from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.waiting import first_times
from neptune_flow.ledger import SET_KEY, SUMMARY_KEY, Entry
from neptune_flow.mend.describe import describe, instant
from neptune_flow.mend.scene import Log, Tables, open_tables
from neptune_flow.settings import Settings

SLACK_S = 10.0
"""What reading, committing and two clocks may take beyond the age limit, seconds."""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One Kafka partition: how far the table is, and what waits."""

    partition: int
    next: int | None
    """The offset that the table has not taken yet; None where the ledger does not know the partition."""
    end: int | None
    """Kafka's log end; None where Kafka was not asked, or does not have the partition."""
    lag: int | None
    rows: int
    rejects: int
    late: int
    lost: int
    watermark: int | None
    """Microseconds since the epoch."""
    is_idle: bool
    waiting_since_ms: int | None
    """Kafka's time of the oldest message that the table has not taken, milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A snapshot on the table's line."""

    snapshot_id: int
    at_ms: int
    by: str
    """`neptune`, `by hand` (`ledger set`), or `another program`."""
    rows: int
    rejects: int
    late: int
    lost: int
    files: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """What was found at one moment."""

    topic: str
    table: str
    has_table: bool
    """False before Neptune's first start."""
    now_ms: int
    partitions: tuple[PartitionState, ...]
    complete_up_to: int | None
    """The least watermark, microseconds since the epoch: no on-time row older than it is expected any more."""
    committed_at_ms: int | None
    """Of Neptune's last commit; None where there is none."""
    commits: tuple[Commit, ...]
    """The last ones, newest first."""
    problems: tuple[Mapping[str, str], ...]
    """At which Neptune would stop."""
    kafka_error: str
    """Why Kafka's part is missing; empty where it is not."""
    wait_s_max: float
    """How long a message may wait for its commit, seconds."""

    @property
    def lag(self) -> int | None:
        """Offsets that wait in Kafka; None where Kafka was not asked."""
        return None if self.kafka_error else sum(p.lag or 0 for p in self.partitions)

    @property
    def freshness_s(self) -> float | None:
        """Age of Neptune's last commit, seconds."""
        return None if self.committed_at_ms is None else (self.now_ms - self.committed_at_ms) / 1000

    @property
    def oldest_wait_s(self) -> float | None:
        """How long the oldest message that waits has waited, seconds."""
        times = [p.waiting_since_ms for p in self.partitions if p.waiting_since_ms is not None]
        return max(0.0, (self.now_ms - min(times)) / 1000) if times else None

    @property
    def quarantine_share(self) -> float | None:
        """Part of all messages taken that were refused, 0 to 1."""
        rows, rejects = sum(p.rows for p in self.partitions), sum(p.rejects for p in self.partitions)
        return rejects / (rows + rejects) if rows + rejects else None

    @property
    def is_behind(self) -> bool:
        """Whether a message has waited for longer than it may."""
        return (self.oldest_wait_s or 0.0) > self.wait_s_max

    @property
    def is_well(self) -> bool:
        """Whether Neptune has landed something and can go on, and nothing waits for too long."""
        return self.has_table and not self.problems and not self.is_behind and self.kafka_error in ("", NOT_ASKED)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if not self.has_table:
            waits = f", and {self.lag:,} offsets wait" if self.lag else ""
            why = f"; {self.kafka_error}" if self.kafka_error else ""
            return f"nothing has landed: there is no table {self.table} yet{waits}{why}"
        if self.problems:
            return f"Neptune stops here: {self.problems[0]['what']}"
        if self.kafka_error:
            return self.kafka_error
        if not self.lag:
            return (
                "nothing has landed, and nothing waits"
                if self.committed_at_ms is None
                else "all that Kafka holds has landed"
            )
        waits = f"{self.lag:,} offsets wait"
        if self.oldest_wait_s is None:
            return waits
        since = f"{waits}, the oldest message for {self.oldest_wait_s:,.0f} s"
        return (
            f"not landing, or far behind: {since}; at most {self.wait_s_max:,.0f} s are meant"
            if self.is_behind
            else since
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it; times in ISO 8601, UTC."""
        return {
            "verdict": self.verdict,
            "well": self.is_well,
            "topic": self.topic,
            "table": self.table,
            "has_table": self.has_table,
            "lag": self.lag,
            "oldest_wait_s": self.oldest_wait_s,
            "complete_up_to": instant(self.complete_up_to),
            "committed_at": _time(self.committed_at_ms),
            "freshness_s": self.freshness_s,
            "quarantine_share": self.quarantine_share,
            "problems": list(self.problems),
            "kafka_error": self.kafka_error or None,
            "partitions": [
                {k: v for k, v in asdict(p).items() if k not in ("watermark", "waiting_since_ms")}
                | {"watermark": instant(p.watermark), "waiting_since": _time(p.waiting_since_ms)}
                for p in self.partitions
            ],
            "commits": [
                {k: v for k, v in asdict(c).items() if k != "at_ms"} | {"at": _time(c.at_ms)} for c in self.commits
            ],
        }


NOT_ASKED = "Kafka was not asked, so what waits there is not known"


def look(settings: Settings, *, commits_max: int, with_kafka: bool = True) -> Status:
    """What there is now.

    Args:
        commits_max: so many of the last commits are told.
        with_kafka: whether to ask Kafka; where it does not answer, the tables are told alone.

    Raises:
        LedgerConflict: there is no table of the rows, but one of their rejects.
        Unavailable, AccessDenied: catalog or storage do not answer, or refuse.
    """
    tables = open_tables(settings)
    if tables.rows is None and tables.quarantine is not None:
        tables.both()
    log, error = log_or_why(settings) if with_kafka else (None, NOT_ASKED)
    return _status(settings, tables, log, error, commits_max)


def _status(settings: Settings, tables: Tables, log: Log | None, error: str, commits_max: int) -> Status:
    rows = tables.rows
    ledger = rows.at.ledger if rows else None
    entries = dict(ledger.entries) if ledger else {}
    line = rows.table.audit(rows.at).line if rows else ()
    own = [s for s in line if SUMMARY_KEY in s.summary]
    problems = describe(tables, log, settings.kafka.topic)["problems"] if rows else ()
    waiting, why = _waiting(settings, entries, log)
    return Status(
        topic=settings.kafka.topic,
        table=tables.names[0],
        has_table=rows is not None,
        now_ms=time.time_ns() // 1_000_000,
        partitions=tuple(_partition(p, entries.get(p), log, waiting) for p in sorted({*entries, *_ranges(log)})),
        complete_up_to=ledger.watermark_least if ledger else None,
        committed_at_ms=own[-1].timestamp_ms if own else None,
        commits=tuple(_commit(s) for s in line[::-1][:commits_max]),
        problems=tuple(problems),
        kafka_error=error or why,
        wait_s_max=settings.commit_age_s_max + SLACK_S,
    )


def _ranges(log: Log | None) -> Mapping[int, tuple[int, int]]:
    return log.ranges if log else {}


def _waiting(settings: Settings, entries: Mapping[int, Entry], log: Log | None) -> tuple[dict[int, int], str]:
    """Per partition that lags, when its oldest message came; and why not, where Kafka does not say."""
    first = {p: (max(entries[p].next, low) if p in entries else low, high) for p, (low, high) in _ranges(log).items()}
    try:
        return first_times(KafkaAddress.of(settings.kafka), {p: at for p, (at, high) in first.items() if at < high}), ""
    except NeptuneError as error:
        return {}, error.primary


def _partition(partition: int, entry: Entry | None, log: Log | None, waiting: Mapping[int, int]) -> PartitionState:
    low, end = _ranges(log).get(partition, (None, None))
    begin = entry.next if entry else low
    return PartitionState(
        partition=partition,
        next=entry.next if entry else None,
        end=end,
        lag=None if end is None or begin is None else max(0, end - begin),
        rows=entry.rows if entry else 0,
        rejects=entry.rejects if entry else 0,
        late=entry.late if entry else 0,
        lost=entry.lost if entry else 0,
        watermark=entry.watermark if entry else None,
        is_idle=entry.idle if entry else False,
        waiting_since_ms=waiting.get(partition),
    )


def _commit(snapshot: SnapshotInfo) -> Commit:
    summary = snapshot.summary
    by = "by hand" if SET_KEY in summary else "neptune" if SUMMARY_KEY in summary else "another program"

    def count(name: str) -> int:
        text = summary.get(name, "0")
        return int(text) if text.isdigit() else 0

    return Commit(
        snapshot_id=snapshot.snapshot_id,
        at_ms=snapshot.timestamp_ms,
        by=by,
        rows=count("added-records"),
        rejects=count("neptune.rejects"),
        late=count("neptune.late"),
        lost=count("neptune.lost"),
        files=count("added-data-files"),
        file_bytes=count("added-files-size"),
    )


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else instant(time_ms * 1000)
