"""The verdict as JSON: one entry each for the service, Kafka, storage and table, then the numbers that a person on call asks for first.

Times are UTC in ISO 8601, ages seconds; null where something is not known. In a cluster each process tells what it knows: lag, last commit and
watermark the one that commits, of its own partitions.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from neptune_flow.health.judgement import Service, Verdict
from neptune_flow.vitals import CATALOG, KAFKA, STORAGE, Vitals

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def report(vitals: Vitals, verdict: Verdict, now_s: float) -> dict[str, Any]:
    """What `/healthz` tells at `now_s`, seconds since 1970-01-01."""
    parts = tuple(sorted(vitals.partitions.items()))
    knows_ledger = vitals.commits_here
    lags = {str(n): p.lag for n, p in parts if knows_ledger and p.lag is not None}
    last_commit_s = vitals.last_commit_s if knows_ledger else None
    least_s = vitals.watermark_least / 1e6 if knows_ledger and vitals.watermark_least is not None else None
    refused, accepted = vitals.rejects.total(), vitals.rows
    recent = tuple(vitals.commits)
    recently_refused, recently_accepted = sum(c.rejects for c in recent), sum(c.rows for c in recent)
    return {
        "live": verdict.live,
        "ready": verdict.ready,
        "reasons": list(verdict.reasons),
        "service": {
            "state": verdict.state,
            "latency_ms": None,
            "since": iso(vitals.began_s),
            "error": verdict.reasons[0] if verdict.reasons else None,
        },
        KAFKA: _entry(verdict.services[KAFKA]),
        STORAGE: _entry(verdict.services[STORAGE]),
        # Asked for by loading the table, so it is also away where there is no table.
        "table": _entry(verdict.services[CATALOG]),
        "lag": {"messages": sum(lags.values()) if lags else None, "partitions": lags},
        "last_commit": {"at": iso(last_commit_s), "age_s": _age_s(last_commit_s, now_s)},
        "waiting": {"since": iso(vitals.waiting_since_s), "age_s": _age_s(vitals.waiting_since_s, now_s)},
        "watermark": {"complete_up_to": iso(least_s), "age_s": _age_s(least_s, now_s)},
        "quarantine": {
            "share": _share(refused, accepted),
            "recent_share": _share(recently_refused, recently_accepted),
            "rejects": refused,
            "rows": accepted,
        },
    }


def _entry(service: Service) -> dict[str, Any]:
    return {
        "state": service.state.value,
        "latency_ms": None if service.latency_ms is None else round(service.latency_ms, 1),
        "since": iso(service.since_s),
        "flow_waits_since": iso(service.waited_since_s),
        "error": service.error or None,
    }


def iso(time_s: float | None) -> str | None:
    """Seconds since 1970-01-01 as UTC in ISO 8601, to the millisecond."""
    if time_s is None:
        return None
    return (_EPOCH + timedelta(seconds=time_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age_s(time_s: float | None, now_s: float) -> float | None:
    return None if time_s is None else round(now_s - time_s, 1)


def _share(refused: int, accepted: int) -> float | None:
    """Refused messages among all."""
    return round(refused / (refused + accepted), 4) if refused + accepted else None
