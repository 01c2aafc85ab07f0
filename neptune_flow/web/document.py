"""What the page shows, as one JSON document: numbers and texts of this process. Secrets are masked where it is sent (`routes`).

Counters are sums since the process began; the page makes rates of them. Values of refused messages are left out unless NEPTUNE_HTTP_SAMPLES allows them, and so are the words of a contract's own validators,
which may quote a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neptune_flow import __version__
from neptune_flow.health import Verdict, report
from neptune_flow.health.judgement import COMMIT_ALLOWANCE_S
from neptune_flow.health.report import iso
from neptune_flow.settings import Settings
from neptune_flow.settings.values import MASK
from neptune_flow.vitals import CommitFacts, Partition, Sample, Vitals, memory_bytes

COMMITS_SHOWN = 10
OWN_WORDS = frozenset({"value_error", "assertion_error"})
"""Kinds whose words the contract's own validators make up."""


class Document:
    """Makes the document of one process."""

    def __init__(self, settings: Settings, vitals: Vitals) -> None:
        self._settings = settings
        self._vitals = vitals

    def at(self, now_s: float, verdict: Verdict) -> dict[str, Any]:
        """The document at `now_s`, seconds since 1970-01-01."""
        vitals, settings = self._vitals, self._settings
        rows_table = ".".join((*settings.catalog.namespace, settings.catalog.table))
        return {
            "version": __version__,
            "now": iso(now_s),
            "now_s": now_s,
            "began": iso(vitals.began_s),
            "topic": settings.kafka.topic,
            "table": rows_table,
            "quarantine_table": ".".join((*settings.catalog.namespace, settings.quarantine_table)),
            "contract": settings.contract,
            "health": report(vitals, verdict, now_s),
            "flow": self._flow(),
            "partitions": [
                _partition(n, p, knows_ledger=vitals.commits_here) for n, p in sorted(vitals.partitions.items())
            ],
            "commits": [_commit(c) for c in reversed(tuple(vitals.commits)[-COMMITS_SHOWN:])],
            "rejects_by_kind": dict(vitals.rejects.most_common()),
            "samples_shown": settings.http_samples,
            "samples": [self._sample(s) for s in reversed(tuple(vitals.samples))],
            "limits": list(self._limits(now_s)),
            "settings": [{"name": s.name, "value": s.value, "default": s.is_default} for s in settings.describe()],
        }

    def _flow(self) -> dict[str, Any]:
        vitals = self._vitals
        parts = tuple(vitals.partitions.values())
        return {
            "messages": sum(p.messages for p in parts),
            "bytes": vitals.taken_bytes,
            "rows": vitals.rows,
            "rejects": vitals.rejects.total(),
            "waiting": sum(p.waiting for p in parts),
            "open_windows": sum(p.open_windows for p in parts),
            "busy_s": {stage: round(spent_s, 3) for stage, spent_s in sorted(vitals.busy_s.items())},
            "retries": vitals.retries.total(),
            **{f"committed_{name}": count for name, count in sorted(vitals.committed.items())},
        }

    def _sample(self, sample: Sample) -> dict[str, Any]:
        may_show = self._settings.http_samples
        value = sample.value.decode(errors="replace") if may_show and sample.value is not None else None
        return {
            "at": iso(sample.at_s),
            "partition": sample.partition,
            "offset": sample.offset,
            "field": sample.field,
            "kind": sample.kind,
            "message": sample.message if may_show or sample.kind not in OWN_WORDS else MASK,
            "bytes": None if sample.value is None else len(sample.value),
            "value": value,
        }

    def _limits(self, now_s: float) -> Iterator[dict[str, Any]]:
        """What has a limit, and how near it is; the page draws bars.

        Some limits are reached every day: a full spool is written, an old message committed. From `alert` on somebody should look.
        """
        vitals, settings = self._vitals, self._settings
        memory, memory_max = memory_bytes(), settings.memory_bytes_max
        if memory is not None:
            yield _limit(
                "memory of the process", memory, memory_max, "bytes", "NEPTUNE_MEMORY_BYTES_MAX", 0.9 * memory_max
            )
        for name, ask in tuple(vitals.held.items()):
            now, most = ask()
            unit = "bytes" if name.endswith("_bytes") else ""
            yield _limit(name.removesuffix("_bytes").replace("_", " "), now, most, unit)
        since_s, age_s_max = vitals.waiting_since_s, settings.commit_age_s_max
        waits_s = 0.0 if since_s is None else max(0.0, now_s - since_s)
        overdue_s = age_s_max + COMMIT_ALLOWANCE_S
        yield _limit("oldest uncommitted message", waits_s, age_s_max, "s", "NEPTUNE_COMMIT_AGE_S_MAX", overdue_s)
        waiting = max((p.waiting for p in tuple(vitals.partitions.values())), default=0)
        yield _limit(
            "messages waiting in one partition", waiting, settings.commit_rows_max, "", "NEPTUNE_COMMIT_ROWS_MAX"
        )
        outage_s, retry_s_max = (
            max((now_s - o.since_s for o in tuple(vitals.outages.values())), default=0.0),
            settings.retry_s_max,
        )
        yield _limit("longest outage now", outage_s, retry_s_max, "s", "NEPTUNE_RETRY_S_MAX", 0.5 * retry_s_max)


def _limit(
    name: str, now: float, most: float, unit: str, setting: str = "", alert: float | None = None
) -> dict[str, Any]:
    return {"name": name, "now": round(now, 1), "most": most, "unit": unit, "setting": setting, "alert": alert}


def _partition(number: int, partition: Partition, *, knows_ledger: bool) -> dict[str, Any]:
    watermark = partition.watermark
    return {
        "partition": number,
        "ledger_next": partition.ledger_next if knows_ledger else None,
        "log_end": partition.log_end,
        "lag": partition.lag if knows_ledger else None,
        "watermark": None if watermark is None else iso(watermark / 1e6),
        "open_windows": partition.open_windows,
        "waiting": partition.waiting,
        "idle": partition.idle,
    }


def _commit(facts: CommitFacts) -> dict[str, Any]:
    return {
        "landed": iso(facts.landed_s),
        "rows": facts.rows,
        "rejects": facts.rejects,
        "late": facts.late,
        "lost": facts.lost,
        "partitions": len(facts.ranges),
        "files": facts.files + facts.reject_files,
        "bytes": facts.file_bytes + facts.reject_file_bytes,
        "attempts": facts.attempts,
        "took_s": round(facts.landed_s - facts.began_s, 3),
        # A 64-bit number, which JavaScript would round.
        "snapshot": str(facts.snapshot),
    }
