"""The quarantine, searched: which messages were refused, why, and the whole of one of them.

Kafka's partition, time and day are asked of the files, which leave out what cannot match; kinds and fields of the reasons are looked at batch by
batch. However many rejects there are, what is held is some batches and what is to be shown.
"""

from __future__ import annotations

import base64
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from neptune_flow.iceberg.dataset import Picture, picture_of
from neptune_flow.inspection.opening import open_table
from neptune_flow.settings import Settings

Reject = dict[str, Any]
"""A row of the quarantine as Python values, by the names of its columns."""
LISTED = ("partition", "offset", "timestamp", "reasons")
COUNTED = ("partition", "day", "reasons")
"""The columns that a list and a summary need: not the messages, which may be large."""
NO_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rejects; what is empty or None does not choose."""

    kinds: tuple[str, ...] = ()
    """Kinds of a reason, any of them."""
    fields: tuple[str, ...] = ()
    """Fields of a reason, any of them, with what lies within."""
    partitions: tuple[int, ...] = ()
    since: datetime | None = None
    """At or after this time of Kafka's, with a zone."""
    until: datetime | None = None
    """Before this time."""
    days: tuple[date, ...] = ()

    def expression(self) -> ds.Expression | None:
        """What the files can be asked for."""
        parts = []
        if self.partitions:
            parts.append(pc.field("partition").isin(list(self.partitions)))
        if self.days:
            parts.append(pc.field("day").isin(pa.array(self.days, pa.date32())))
        if self.since is not None:
            parts += [pc.field("timestamp") >= _instant(self.since), pc.field("day") >= _day(self.since)]
        if self.until is not None:
            parts += [pc.field("timestamp") < _instant(self.until), pc.field("day") <= _day(self.until)]
        if not parts:
            return None
        whole = parts[0]
        for part in parts[1:]:
            whole = whole & part
        return whole

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch that have a reason of these kinds and fields."""
        if not (self.kinds or self.fields):
            return batch
        reasons = batch.column("reasons")
        each = reasons.flatten()
        fits = np.ones(len(each), dtype=bool)
        if self.kinds:
            fits &= _mask(pc.is_in(each.field("kind"), pa.array(self.kinds, each.field("kind").type)))
        if self.fields:
            names = each.field("field")
            within = [pc.or_(pc.equal(names, name), pc.starts_with(names, f"{name}.")) for name in self.fields]
            fits &= np.logical_or.reduce([_mask(w) for w in within])
        chosen = np.zeros(batch.num_rows, dtype=bool)
        chosen[np.asarray(pc.list_parent_indices(reasons))[fits]] = True
        return batch.filter(pa.array(chosen))


@dataclass(slots=True)
class Summary:
    """Rejects, counted."""

    rejects: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Messages with a reason of this kind; one message may have several."""
    fields: Counter[str] = field(default_factory=Counter)
    """Messages with a reason at this field; the whole message is `(message)`."""
    partitions: Counter[int] = field(default_factory=Counter)
    days: Counter[date] = field(default_factory=Counter)


def open_quarantine(settings: Settings) -> Picture:
    """The quarantine as it is now.

    Raises:
        LedgerConflict: there is none.
        Unavailable, AccessDenied: the catalog does not answer, or refuses.
    """
    return picture_of(open_table(settings, settings.quarantine_table))


def batches(
    picture: Picture,
    wanted: Wanted,
    columns: Sequence[str] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[pa.RecordBatch]:
    """The rejects that are wanted, in no particular order; `advance` is told how many rows have been looked at.

    Raises:
        Unavailable, AccessDenied: the storage does not answer, or refuses.
    """
    for batch in picture.batches(columns, wanted.expression()):
        advance(batch.num_rows)
        chosen = wanted.of(batch)
        if chosen.num_rows:
            yield chosen


def newest(found: Iterable[pa.RecordBatch], limit: int) -> list[Reject]:
    """The last of these by Kafka's time, newest first; they need the columns LISTED."""
    rows = (row for batch in found for row in batch.to_pylist())
    return heapq.nlargest(limit, rows, key=lambda r: (r["timestamp"] or NO_TIME, r["offset"], r["partition"]))


def count(found: Iterable[pa.RecordBatch]) -> Summary:
    """How many these are, by kind, field, partition and day; they need the columns COUNTED."""
    summary = Summary()
    for batch in found:
        summary.rejects += batch.num_rows
        _count(summary.partitions, batch.column("partition"))
        _count(summary.days, batch.column("day"))
        each = batch.column("reasons").flatten()
        parents = np.asarray(pc.list_parent_indices(batch.column("reasons")))
        _count_once(summary.kinds, each.field("kind"), parents)
        _count_once(summary.fields, pc.fill_null(each.field("field"), "(message)"), parents)
    return summary


def find(picture: Picture, partition: int, offset: int) -> list[Reject]:
    """The reject of this offset, whole; none where there is none. Raises as `batches` does."""
    here = (pc.field("partition") == partition) & (pc.field("offset") == offset)
    return [row for batch in picture.batches(None, here) for row in batch.to_pylist()]


def to_json(reject: Reject) -> dict[str, Any]:
    """As JSON can hold it: bytes as text, those that are not UTF-8 as base 64 under the name with `_base64` behind it."""
    told: dict[str, Any] = {}
    for name, value in reject.items():
        if isinstance(value, bytes):
            told |= _bytes(name, value)
        elif name == "headers" and value is not None:
            told[name] = [{"name": h["name"], **_bytes("value", h["value"])} for h in value]
        elif isinstance(value, datetime):
            told[name] = value.isoformat().replace("+00:00", "Z")
        else:
            told[name] = value.isoformat() if isinstance(value, date) else value
    return told


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value or b"").decode()}


def _count(counter: Counter[Any], values: pa.Array) -> None:
    for found in pc.value_counts(values).to_pylist():
        counter[found["values"]] += found["counts"]


def _count_once(counter: Counter[str], names: pa.Array, parents: np.ndarray) -> None:
    """Count each name once for each message that has it."""
    pairs = pa.table({"name": names.cast(pa.string()), "message": pa.array(parents)})
    _count(counter, pairs.group_by(["name", "message"]).aggregate([]).column("name").combine_chunks())


def _mask(values: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(values, False))


def _instant(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", "UTC"))


def _day(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment.astimezone(UTC).date(), pa.date32())
