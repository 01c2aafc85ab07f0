"""Compares what was sent with what the tables hold, and names what is wrong: lost, twin, skip, strange.

- lost: Kafka took the message, no table holds it;
- twin: the tables hold it more than once;
- skip: the ledger's number or totals are not those of the tables (identity of the ledger), or do not end where the log ends;
- strange: a row or reject that nobody sent, in the wrong table, or with other values than were sent.

What a good message must become is worked out here from its JSON text, with nothing of Neptune. The tables are read by
PyIceberg; a second reader, of another make, is in `second_reader`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from tests.services.traffic import Sent

FIELDS = (
    *("device_id", "vehicle_id", "session_id", "order_id", "status", "timestamp"),
    *("start_lat", "start_lon", "end_lat", "end_lon", "current_lat", "current_lon"),
)
COLUMNS = (*FIELDS, "event_date", "_kafka", "_extra")
REJECT_COLUMNS = (
    *("topic", "partition", "offset", "timestamp", "key", "value", "headers", "reasons", "contract", "day"),
)
_EXAMPLES_MAX = 5
Place = tuple[int, int]
"""Partition and offset."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Landed:
    """What the tables hold."""

    topic: str
    rows: pa.Table
    rejects: pa.Table
    ledger: Mapping[int, Mapping[str, Any]]
    """The ledger's entries, as its JSON says them."""

    @property
    def row_places(self) -> list[Place]:
        """Partition and offset of each row."""
        kafka = self.rows.column("_kafka").combine_chunks()
        return list(zip(kafka.field("partition").to_pylist(), kafka.field("offset").to_pylist(), strict=True))

    @property
    def reject_places(self) -> list[Place]:
        """Partition and offset of each reject."""
        columns = (self.rejects.column(name).to_pylist() for name in ("partition", "offset"))
        return list(zip(*columns, strict=True))


@dataclass(frozen=True)
class Findings:
    """All that is wrong; empty lists where nothing is."""

    lost: list[Place] = field(default_factory=list)
    twin: list[Place] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts: dict[str, Sequence[object]] = {
            "lost": self.lost,
            "twin": self.twin,
            "skip": self.skip,
            "strange": self.strange,
        }
        return "; ".join(f"{name} {len(all_)}: {all_[:_EXAMPLES_MAX]}" for name, all_ in parts.items() if all_)


def find(sent: Iterable[Sent], landed: Landed, ends: Mapping[int, int] | None = None) -> Findings:
    """All that is wrong with the tables.

    Args:
        sent: every message that Kafka took and that must have landed.
        ends: where each partition's ledger must end; None where that is not asked.
    """
    expected = {(s.partition, s.offset): s for s in sent}
    rows, rejects = Counter(landed.row_places), Counter(landed.reject_places)
    held = rows + rejects
    misplaced = [p for p in rows if p in expected and expected[p].refusal is not None]
    misplaced += [p for p in rejects if p in expected and expected[p].refusal is None]
    strange = [f"{p}: nobody sent it" for p in held.keys() - expected.keys()]
    strange += [f"{p}: in the wrong table, {expected[p].refusal or 'good'}" for p in misplaced]
    return Findings(
        lost=sorted(expected.keys() - held.keys()),
        twin=sorted(p for p, count in held.items() if count > 1),
        skip=_skips(landed.ledger, rows, rejects, ends or {}),
        strange=strange + _wrong_rows(expected, landed) + _wrong_rejects(expected, landed),
    )


def assert_exact(sent: Iterable[Sent], landed: Landed, ends: Mapping[int, int] | None = None) -> None:
    """Fails with the findings, if there are any."""
    findings = str(find(sent, landed, ends))
    assert not findings, findings


def _skips(
    ledger: Mapping[int, Mapping[str, Any]], rows: Counter[Place], rejects: Counter[Place], ends: Mapping[int, int]
) -> list[str]:
    wrong = []
    for partition, entry in ledger.items():
        first, end = entry["first"], entry["next"]
        found = {
            "rows": sum(n for (p, _), n in rows.items() if p == partition),
            "rejects": sum(n for (p, _), n in rejects.items() if p == partition),
        }
        if end - first != sum(entry[name] for name in ("rows", "rejects", "left_out", "lost")):
            wrong.append(f"partition {partition}: the totals do not make up [{first}, {end}): {dict(entry)}")
        if any(entry[name] != count for name, count in found.items()):
            wrong.append(f"partition {partition}: the ledger says {dict(entry)}, the tables hold {found}")
        if any(not first <= offset < end for p, offset in rows.keys() | rejects.keys() if p == partition):
            wrong.append(f"partition {partition}: the tables hold offsets outside [{first}, {end})")
    ours = {partition: entry["next"] for partition, entry in ledger.items()}
    wrong += [
        f"partition {p}: the ledger ends at {ours.get(p)}, the log at {e}" for p, e in ends.items() if ours.get(p) != e
    ]
    return wrong


def expected_row(sent: Sent, topic: str) -> dict[str, Any]:
    """The row that a good message must become."""
    assert sent.value is not None
    message = json.loads(sent.value)
    at = datetime.fromisoformat(message["timestamp"])
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    values = {name: float(message[name]) if "lat" in name or "lon" in name else message[name] for name in FIELDS}
    kafka = {
        "topic": topic,
        "partition": sent.partition,
        "offset": sent.offset,
        "timestamp": moment(sent.timestamp_ms),
        "key": sent.key,
    }
    return {**values, "timestamp": at, "event_date": at.date(), "_kafka": kafka}


def expected_extra(value: bytes) -> dict[str, Any] | None:
    """The fields that the contract does not name, with every number as its text."""
    unknown = {name: v for name, v in _digits(value).items() if name not in FIELDS}
    return unknown or None


def _wrong_rows(expected: Mapping[Place, Sent], landed: Landed) -> list[str]:
    judged = [
        (number, place, sent)
        for number, place in enumerate(landed.row_places)
        if (sent := expected.get(place)) is not None and sent.refusal is None
    ]
    found = landed.rows.take(pa.array([number for number, _, _ in judged], pa.int64()))
    should = [expected_row(sent, landed.topic) for _, _, sent in judged]
    wrong = []
    for name in (*FIELDS, "event_date", "_kafka"):
        column = found.column(name).combine_chunks()
        if not column.equals(pa.array([row[name] for row in should], column.type)):
            values = zip(judged, column.to_pylist(), should, strict=True)
            wrong += [f"row {j[1]}: {name} is {v!r}, sent {r[name]!r}" for j, v, r in values if v != r[name]]
    extras = zip(judged, found.column("_extra").to_pylist(), strict=True)
    return wrong + [f"row {place}: _extra is {v!r}" for (_, place, sent), v in extras if not _is_extra(v, sent)]


def _is_extra(found: str | None, sent: Sent) -> bool:
    assert sent.value is not None
    return (None if found is None else _digits(found)) == expected_extra(sent.value)


def _wrong_rejects(expected: Mapping[Place, Sent], landed: Landed) -> list[str]:
    wrong = []
    for reject in landed.rejects.to_pylist():
        place = (reject["partition"], reject["offset"])
        sent = expected.get(place)
        if sent is None or sent.refusal is None:
            continue
        should = {
            "topic": landed.topic,
            "key": sent.key,
            "value": sent.value,
            "timestamp": moment(sent.timestamp_ms),
            "day": moment(sent.timestamp_ms).date(),
            "headers": [{"name": name, "value": value} for name, value in sent.headers],
        }
        wrong += [
            f"reject {place}: {name} is {reject[name]!r}, sent {v!r}"
            for name, v in should.items()
            if reject[name] != v and not (name == "headers" and not reject[name] and not v)
        ]
        kinds = {reason["kind"] for reason in reject["reasons"]}
        if sent.refusal not in kinds:
            wrong.append(f"reject {place}: refused for {kinds}, expected {sent.refusal}")
    return wrong


def _digits(text: bytes | str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text, parse_float=str, parse_int=str)
    return document


def moment(milliseconds: int) -> datetime:
    """A Kafka timestamp as an instant."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def days_of(sent: Sequence[Sent]) -> set[date]:
    """The UTC days of the event times of the good messages."""
    return {expected_row(s, "")["event_date"] for s in sent if s.refusal is None}
