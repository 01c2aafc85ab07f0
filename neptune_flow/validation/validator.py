"""From a message batch to rows and rejects: the fast way first, Pydantic for what it leaves, then the columns put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, compress
from typing import Any

import numpy as np
import pyarrow as pa

from neptune_flow.contract import Contract
from neptune_flow.contract.columns import INSTANT
from neptune_flow.records import Judged, Message, MessageBatch
from neptune_flow.settings import Settings
from neptune_flow.validation.chunk import Indices
from neptune_flow.validation.extra import Extra
from neptune_flow.validation.layouts import Layouts, Part
from neptune_flow.validation.one_by_one import MISFIT, VALUE_BYTES_MAX, OneByOne, Reason
from neptune_flow.validation.parsing import array, times_us
from neptune_flow.validation.rejects import DAY_US, INSTANT_US_MAX, INSTANT_US_MIN, REJECTS_SCHEMA, rejects_of
from neptune_flow.validation.rules import flat_rules

KIND_NULL = "null_value"
"""The message has no value (a tombstone)."""
KIND_FUTURE = "event_time_in_future"
"""The event time lies further ahead of now than the allowed skew."""

KAFKA_COLUMN = "_kafka"
EXTRA_COLUMN = "_extra"

KAFKA_TYPE = pa.struct(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", INSTANT),
        pa.field("key", pa.binary()),
    ]
)
_KAFKA_FIELDS = list(KAFKA_TYPE)


class Validator:
    """Judges message batches of one topic by one contract.

    `future_skew_s` is how far, in seconds, an event time may lie ahead of now; a value of more than `value_bytes_max`
    bytes is refused without being parsed (at least 64 KiB, up to which the fast way reads). What a validator learns of layouts
    changes its speed alone: two of them give the same verdicts.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        topic: str,
        kafka_columns: bool,
        extra_column: bool,
        future_skew_s: float,
        value_bytes_max: int = VALUE_BYTES_MAX,
    ) -> None:
        self.contract = contract
        self.rejects_schema = REJECTS_SCHEMA
        self.rows_schema = contract.schema
        if kafka_columns:
            self.rows_schema = self.rows_schema.append(pa.field(KAFKA_COLUMN, KAFKA_TYPE))
        if extra_column:
            self.rows_schema = self.rows_schema.append(pa.field(EXTRA_COLUMN, pa.string()))
        self._topic = topic
        self._topic_scalar = pa.scalar(topic, pa.string())
        self._kafka_columns = kafka_columns
        self._future_skew_us = round(future_skew_s * 1_000_000)
        self._names = contract.schema.names[:-1]
        self._event_time_at = self._names.index(contract.event_time)
        self._contract_text = f"{contract.name}@{contract.fingerprint}"
        self._one_by_one = OneByOne(contract, value_bytes_max)
        self._extra = Extra(contract.model) if extra_column else None
        rules = flat_rules(contract)
        self._layouts = Layouts(rules, with_extra=extra_column) if rules is not None else None
        self._no_rows = pa.RecordBatch.from_pylist([], schema=self.rows_schema)

    @classmethod
    def of(cls, settings: Settings, contract: Contract) -> Validator:
        """The validator that the settings describe."""
        return cls(
            contract,
            topic=settings.kafka.topic,
            kafka_columns=settings.kafka_columns,
            extra_column=settings.extra_column,
            future_skew_s=settings.future_skew_s,
            value_bytes_max=settings.value_bytes_max,
        )

    def judge(self, batch: MessageBatch, now_us: int) -> Judged:
        """Each message of the batch as a row or a reject, each in offset order. `now_us` is microseconds since the epoch."""
        refused: dict[int, list[Reason]] = {}
        latest_us = now_us + self._future_skew_us
        parts = self._layouts.read(batch.values, latest_us) if self._layouts else []
        rest = _others(len(batch.values), parts)
        if len(rest):
            parts += self._judge_rest(batch, rest.tolist(), latest_us, refused)
        rejects = [(batch.messages[at], batch.values[at], refused[at]) for at in sorted(refused)]
        rows = self._rows(batch, _together(parts)) if parts else self._no_rows
        return Judged(
            partition=batch.partition,
            first=batch.first,
            next=batch.next,
            rows=rows,
            event_times=times_us(rows.column(self._event_time_at)),
            rejects=rejects_of(
                rejects, topic=self._topic, partition=batch.partition, contract=self._contract_text, now_us=now_us
            ),
            left_out=batch.left_out,
            idle=batch.idle,
            refused_before=batch.refused_before,
            lost=batch.lost,
            start=batch.start,
            reading=batch.reading,
        )

    def _judge_rest(
        self, batch: MessageBatch, rest: list[int], latest_us: int, refused: dict[int, list[Reason]]
    ) -> list[Part]:
        """One by one: fills `refused`, and returns what is accepted."""
        rows, positions = [], []
        for at in rest:
            value = batch.values[at]
            verdict = self._one_by_one.judge(value) if value is not None else [_NULL]
            if isinstance(verdict, list):
                refused[at] = verdict
            else:
                rows.append(verdict)
                positions.append(at)
        try:
            columns = self._one_by_one.columns(rows)
        except MISFIT:
            rows, positions = self._without_misfits(rows, positions, refused)
            columns = self._one_by_one.columns(rows)
        if not positions:
            return []
        part = self._without_future(Part(np.array(positions, np.intp), columns, None), latest_us, refused)
        positions = part.positions.tolist()
        if not positions:
            return []
        if self._layouts:
            self._layouts.learn(_bytes(batch.values[positions[batch.first % len(positions)]]))
        return [part._replace(extra=self._extras(batch, positions))]

    def _without_misfits(
        self, rows: list[tuple[Any, ...]], positions: list[int], refused: dict[int, list[Reason]]
    ) -> tuple[list[tuple[Any, ...]], list[int]]:
        reasons = [self._one_by_one.misfit(row, self._names) for row in rows]
        refused |= {at: why for at, why in zip(positions, reasons, strict=True) if why}
        return (
            [row for row, why in zip(rows, reasons, strict=True) if not why],
            [at for at, why in zip(positions, reasons, strict=True) if not why],
        )

    def _extras(self, batch: MessageBatch, positions: list[int]) -> pa.Array | None:
        if self._extra is None:
            return None
        texts = [self._extra.of(_bytes(batch.values[at])) for at in positions]
        return pa.array(texts, pa.string()) if any(texts) else None

    def _without_future(self, accepted: Part, latest_us: int, refused: dict[int, list[Reason]]) -> Part:
        times = times_us(accepted.columns[self._event_time_at])
        too_late = times > latest_us
        if not too_late.any():
            return accepted
        reason = Reason(self._names[self._event_time_at], KIND_FUTURE, "the event time lies too far ahead of now")
        refused |= {at: [reason] for at in accepted.positions[too_late].tolist()}
        return _pick(accepted, np.flatnonzero(~too_late))

    def _rows(self, batch: MessageBatch, accepted: Part) -> pa.RecordBatch:
        count = len(accepted.positions)
        days = (times_us(accepted.columns[self._event_time_at]) // DAY_US).astype(np.int32)
        arrays = [*accepted.columns, array(pa.date32(), days)]
        if self._kafka_columns:
            arrays.append(self._kafka(batch, accepted.positions))
        if self._extra is not None:
            arrays.append(pa.nulls(count, pa.string()) if accepted.extra is None else accepted.extra)
        return pa.RecordBatch.from_arrays(arrays, schema=self.rows_schema)

    def _kafka(self, batch: MessageBatch, positions: Indices) -> pa.Array:
        """The row's birth certificate. The client is asked twice per message, and nothing else happens per message."""
        count = len(positions)
        messages: Sequence[Message] = batch.messages
        offsets = batch.offsets
        if count < len(messages):
            is_row = np.zeros(len(messages), np.bool_)
            is_row[positions] = True
            messages, offsets = [*compress(messages, is_row.tobytes())], offsets[positions]
        columns = [
            pa.repeat(self._topic_scalar, count),
            array(pa.int32(), np.full(count, batch.partition, np.int32)),
            array(pa.int64(), np.ascontiguousarray(offsets, np.int64)),
            _kafka_times([message.timestamp() for message in messages], count),
            pa.array([message.key() for message in messages], pa.binary()),
        ]
        return pa.StructArray.from_arrays(columns, fields=_KAFKA_FIELDS)


_NULL = Reason(None, KIND_NULL, "the message has no value")


def _bytes(value: bytes | None) -> bytes:
    return value or b""


def _others(count: int, parts: list[Part]) -> Indices:
    """The positions that are in none of the parts."""
    if sum(len(part.positions) for part in parts) == count:
        return np.empty(0, np.intp)
    is_open = np.ones(count, np.bool_)
    for part in parts:
        is_open[part.positions] = False
    return np.flatnonzero(is_open)


def _together(parts: list[Part]) -> Part:
    """One part of all, in the order of positions."""
    if len(parts) == 1:
        return parts[0]
    positions = np.concatenate([part.positions for part in parts])
    columns = [pa.concat_arrays(pieces) for pieces in zip(*(part.columns for part in parts), strict=True)]
    extra = None
    if any(part.extra is not None for part in parts):
        texts = [pa.nulls(len(part.positions), pa.string()) if part.extra is None else part.extra for part in parts]
        extra = pa.concat_arrays(texts)
    whole = Part(positions, columns, extra)
    return whole if (np.diff(positions) > 0).all() else _pick(whole, np.argsort(positions))


def _pick(part: Part, indices: Indices) -> Part:
    which = pa.array(indices)
    extra = None if part.extra is None else part.extra.take(which)
    return Part(part.positions[indices], [column.take(which) for column in part.columns], extra)


def _kafka_times(stamps: Iterable[tuple[int, int]], count: int) -> pa.Array:
    """Kafka's times as instants; null where `rejects.instant_us` gives None."""
    kinds, times_ms = np.fromiter(chain.from_iterable(stamps), np.int64, 2 * count).reshape(count, 2).T
    known = (kinds != 0) & (times_ms >= INSTANT_US_MIN // 1000) & (times_ms <= INSTANT_US_MAX // 1000)
    times_us = np.where(known, times_ms, 0) * 1000
    if known.all():
        return array(INSTANT, times_us)
    return pa.array(times_us.view("datetime64[us]"), INSTANT, mask=~known)
