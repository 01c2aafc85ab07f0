"""The columns of the quarantine table: a refused message as Kafka gave it, and why it was refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from neptune_flow.contract.columns import INSTANT
from neptune_flow.records import Message
from neptune_flow.validation.one_by_one import Reason

DAY_US = 86_400_000_000
INSTANT_US_MIN = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z."""
INSTANT_US_MAX = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z."""

_HEADER = pa.struct([pa.field("name", pa.string(), nullable=False), pa.field("value", pa.binary())])
_REASON = pa.struct(
    [
        pa.field("field", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)

REJECTS_SCHEMA = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", INSTANT),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.list_(pa.field("element", _HEADER, nullable=False))),
        pa.field("reasons", pa.list_(pa.field("element", _REASON, nullable=False)), nullable=False),
        pa.field("contract", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
    ]
)

_ROW = pa.struct(list(REJECTS_SCHEMA))

KIND_HEADERS = "headers_not_readable"
"""Not why the message was refused, but why its headers are missing."""

NO_REJECTS = pa.RecordBatch.from_pylist([], schema=REJECTS_SCHEMA)


def instant_us(message: Message) -> int | None:
    """Kafka's time of a message in microseconds; None where there is none, or one outside the years 1 to 9999.

    A producer may write any 64-bit number there. The message keeps its place by its offset, so an absurd time need
    not be kept.
    """
    kind, time_ms = message.timestamp()
    time_us = time_ms * 1000
    return time_us if kind and INSTANT_US_MIN <= time_us <= INSTANT_US_MAX else None


def rejects_of(
    refused: Sequence[tuple[Message, bytes | None, list[Reason]]],
    *,
    topic: str,
    partition: int,
    contract: str,
    now_us: int,
) -> pa.RecordBatch:
    """The quarantine's columns of refused messages, in the order given."""
    if not refused:
        return NO_REJECTS
    rows = [
        _row(message, value, reasons, topic=topic, partition=partition, contract=contract, now_us=now_us)
        for message, value, reasons in refused
    ]
    return pa.RecordBatch.from_struct_array(pa.array(rows, _ROW))


def _row(
    message: Message,
    value: bytes | None,
    reasons: list[Reason],
    *,
    topic: str,
    partition: int,
    contract: str,
    now_us: int,
) -> tuple[Any, ...]:
    """One reject, in the order of the columns: Arrow makes a struct of a tuple sooner than ten arrays of ten lists."""
    time_us = instant_us(message)
    day = (now_us if time_us is None else time_us) // DAY_US
    headers, trouble = _headers(message)
    return (
        topic,
        partition,
        message.offset(),
        time_us,
        message.key(),
        value,
        headers,
        [*reasons, *trouble],
        contract,
        day,
    )


def _headers(message: Message) -> tuple[list[tuple[str, bytes | None]] | None, list[Reason]]:
    """The headers; where the client cannot read them, none, and a reason that says so.

    Kafka's brokers take any bytes for a header's name, its client only UTF-8. It must be asked once: after it has failed it
    answers with a part.
    """
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError):
        return None, [Reason(None, KIND_HEADERS, "the name of a header is not UTF-8; the headers are not kept")]
    return None if headers is None else [(_text(name), value) for name, value in headers], []


def _text(name: str) -> str:
    return name.encode(errors="replace").decode()
