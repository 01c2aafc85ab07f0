"""From a message batch to rows and rejects: which columns, in which order, with what in them."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest

from neptune_flow.contract import DeliveryData
from neptune_flow.contract.loading import contract_of
from neptune_flow.records import MessageBatch
from neptune_flow.validation import Validator
from neptune_flow.validation.chunk import CHUNK_MESSAGES_MAX
from neptune_flow.validation.layouts import LAYOUTS_MAX, MESSAGES_MIN
from tests.messages import SampleMessage, batch_from, batch_of
from tests.validation.test_fast_way import EVENT, LAYOUTS, PLAIN

CONTRACT = contract_of(DeliveryData)
NOW_US = 1_714_600_000_000_000
DAY_OF_NOW = date(2024, 5, 1)
BAD = PLAIN.replace(b"40.5", b"140.5")
SLOW = PLAIN.replace(b"en_route", rb"en\u005froute")


def validator(*, kafka_columns: bool = True, extra_column: bool = True, future_skew_s: float = 300) -> Validator:
    made = Validator(
        CONTRACT, topic="sessions", kafka_columns=kafka_columns, extra_column=extra_column, future_skew_s=future_skew_s
    )
    for message in LAYOUTS:
        made.judge(batch_of([message]), NOW_US)
    return made


def numbered(count: int, first: int = 100, base: bytes = PLAIN) -> list[bytes]:
    return [base.replace(b'"d-1"', f'"d-{first + n}"'.encode()) for n in range(count)]


@pytest.mark.parametrize("kafka_columns", [True, False])
@pytest.mark.parametrize("extra_column", [True, False])
def test_the_system_columns_follow_the_contracts(kafka_columns: bool, extra_column: bool) -> None:
    judge = validator(kafka_columns=kafka_columns, extra_column=extra_column)
    system = ["_kafka"] * kafka_columns + ["_extra"] * extra_column
    assert judge.rows_schema.names == [*CONTRACT.schema.names, *system]
    for values in ([], [PLAIN], [PLAIN] * 100, [BAD]):
        judged = judge.judge(batch_of(values), NOW_US)
        judged.rows.validate(full=True)
        judged.rejects.validate(full=True)
        assert judged.rows.schema.equals(judge.rows_schema)
        assert judged.rejects.schema.equals(judge.rejects_schema)


@pytest.mark.parametrize(
    "count",
    [1, MESSAGES_MIN - 1, MESSAGES_MIN, 200, CHUNK_MESSAGES_MAX, CHUNK_MESSAGES_MAX + 1, 3 * CHUNK_MESSAGES_MAX],
)
def test_rows_stand_in_offset_order_with_the_values_of_their_messages(count: int) -> None:
    mixed = [PLAIN, SLOW, LAYOUTS[1], BAD, PLAIN, LAYOUTS[2]]
    values = [value.replace(b"d-1", f"d-{n}".encode()) for n, value in enumerate((mixed * count)[:count])]
    judged = validator().judge(batch_of(values, first=1000, partition=7), NOW_US)
    good = [n for n in range(count) if n % 6 != 3]
    assert judged.rows.column("device_id").to_pylist() == [f"d-{n}" for n in good]
    assert judged.rows.column("_kafka").field("offset").to_pylist() == [1000 + n for n in good]
    assert judged.rejects.column("offset").to_pylist() == [1000 + n for n in range(count) if n % 6 == 3]


def test_a_row_has_the_values_of_its_message() -> None:
    rows = validator().judge(batch_of([PLAIN] * MESSAGES_MIN, first=5, partition=2), NOW_US).rows.to_pylist()
    moment = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    kafka = {
        "topic": "sessions",
        "partition": 2,
        "offset": 8,
        "timestamp": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "key": None,
    }
    assert rows[3] == {**EVENT, "timestamp": moment, "event_date": moment.date(), "_kafka": kafka, "_extra": None}


def test_the_kafka_columns_are_those_of_each_message() -> None:
    stamps = [(1, 1_700_000_000_123), (2, -1), (0, -1), (1, 2**62), (1, -(2**62)), (1, 253_402_300_799_999)]
    messages = [
        SampleMessage(PLAIN, offset=10 * n, key=(None, b"", b"\xff")[n % 3], timestamp=stamps[n % 6])
        for n in range(120)
    ]
    kafka = validator().judge(batch_from(messages), NOW_US).rows.column("_kafka").to_pylist()
    assert [row["offset"] for row in kafka] == list(range(0, 1200, 10))
    assert [row["key"] for row in kafka[:3]] == [None, b"", b"\xff"]
    assert [row["timestamp"] for row in kafka[:6]] == [
        datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
        None,
        None,
        None,
        datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    ]


def test_event_times_are_the_event_times_column_without_a_copy() -> None:
    judged = validator().judge(batch_of([PLAIN, SLOW, BAD] * MESSAGES_MIN), NOW_US)
    column = judged.rows.column("timestamp")
    assert judged.event_times.dtype == np.int64
    assert judged.event_times.tolist() == column.cast(pa.int64()).to_pylist()
    assert judged.event_times.ctypes.data == column.buffers()[1].address


@pytest.mark.parametrize("way", [1, MESSAGES_MIN])
def test_event_date_is_the_utc_day_of_the_event_time(way: int) -> None:
    times = ["1969-12-31T23:59:59.999999", "1970-01-01T00:00:00Z", "2024-05-01T00:30:00+01:00", "0001-01-01T00:00:00"]
    days = [date(1969, 12, 31), date(1970, 1, 1), date(2024, 4, 30), date(1, 1, 1)]
    values = [PLAIN.replace(b"2024-05-01T12:00:00.123456", time.encode()) for time in times]
    rows = validator().judge(batch_of(values * way), NOW_US).rows
    assert rows.column("event_date").to_pylist() == days * way


@pytest.mark.parametrize("count", [1, MESSAGES_MIN])
def test_an_event_time_further_ahead_than_the_skew_is_refused(count: int) -> None:
    limit = datetime.fromtimestamp(NOW_US / 1e6 + 300, UTC)
    at_limit, beyond = (
        PLAIN.replace(b"2024-05-01T12:00:00.123456", limit.replace(microsecond=us).isoformat().encode())
        for us in (0, 1)
    )
    judged = validator().judge(batch_of([at_limit, beyond] * count), NOW_US)
    assert judged.rows.column("_kafka").field("offset").to_pylist() == list(range(0, 2 * count, 2))
    assert judged.rejects.column("offset").to_pylist() == list(range(1, 2 * count, 2))
    assert judged.rejects.column("value").to_pylist() == [beyond] * count
    assert [(why["field"], why["kind"]) for why in judged.rejects.column("reasons")[0].as_py()] == [
        ("timestamp", "event_time_in_future")
    ]


def test_a_batch_of_nothing_but_rejects_has_no_row() -> None:
    judged = validator().judge(batch_of([BAD] * MESSAGES_MIN), NOW_US)
    assert (judged.rows.num_rows, judged.rejects.num_rows, len(judged.event_times)) == (0, MESSAGES_MIN, 0)


def test_a_reject_is_the_message_as_kafka_gave_it() -> None:
    headers = [("trace", b"\x00\xff"), ("trace", None), ("", b"")]
    messages = [
        SampleMessage(BAD, offset=3, key=b"k", timestamp=(1, 1_700_000_000_123), headers=headers),
        SampleMessage(None, offset=9, timestamp=(0, -1)),
        SampleMessage(b"", offset=11, key=b"", timestamp=(1, 2**62), headers=[]),
    ]
    batch = batch_from(messages, partition=4)
    rejects = validator().judge(batch, NOW_US).rejects.to_pylist()
    common = {"topic": "sessions", "partition": 4, "contract": f"{CONTRACT.name}@{CONTRACT.fingerprint}"}
    too_far = {"field": "start_lat", "kind": "less_than_equal", "message": "Input should be less than or equal to 90"}
    assert rejects[0] == {
        **common,
        "offset": 3,
        "timestamp": datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
        "key": b"k",
        "value": BAD,
        "headers": [{"name": name, "value": value} for name, value in headers],
        "reasons": [too_far],
        "day": date(2023, 11, 14),
    }
    assert rejects[1] == {
        **common,
        "offset": 9,
        "timestamp": None,
        "key": None,
        "value": None,
        "headers": None,
        "reasons": [{"field": None, "kind": "null_value", "message": "the message has no value"}],
        "day": DAY_OF_NOW,
    }
    assert (rejects[2]["value"], rejects[2]["headers"], rejects[2]["timestamp"], rejects[2]["day"]) == (
        b"",
        [],
        None,
        DAY_OF_NOW,
    )


def test_what_the_batch_knows_of_its_range_is_handed_on() -> None:
    batch = MessageBatch(3, 10, 20, [], np.empty(0, np.int64), [], left_out=5, refused_before=3, lost=2, start=True)
    judged = validator().judge(batch, NOW_US)
    assert (judged.partition, judged.first, judged.next) == (3, 10, 20)
    assert (judged.left_out, judged.refused_before, judged.lost, judged.start) == (5, 3, 2, True)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(numbered(1000), id="fast"),
        pytest.param(numbered(1000, base=SLOW), id="slow"),
        pytest.param(numbered(500) + [BAD] * 10 + numbered(490), id="with rejects"),
        pytest.param(numbered(500) + numbered(10, base=SLOW) + numbered(490), id="both"),
        pytest.param(numbered(3000), id="several chunks"),
    ],
)
def test_rows_take_no_more_memory_than_their_values(values: list[bytes]) -> None:
    rows = validator().judge(batch_of(values), NOW_US).rows
    allowed = 1.05 * rows.nbytes + 8192
    assert rows.get_total_buffer_size() <= allowed
    assert len(pickle.dumps(rows)) <= allowed


def test_more_layouts_than_are_kept_change_nothing_but_the_speed() -> None:
    judge = validator()
    spaced = [json.dumps(EVENT, separators=("," + " " * n, ": ")).encode() for n in range(3 * LAYOUTS_MAX)]
    for values in ([spaced[n]] * MESSAGES_MIN for n in range(len(spaced))):
        for _ in range(2):
            assert judge.judge(batch_of(values), NOW_US).rows.num_rows == MESSAGES_MIN
    judged = judge.judge(batch_of(spaced * 40), NOW_US)
    assert judged.rows.num_rows == 40 * len(spaced)
    assert judged.rows.column("status").to_pylist() == ["en_route"] * judged.rows.num_rows


def test_values_of_all_sizes_are_read_alike() -> None:
    sizes = [1, 10, 1000, 60_000, 70_000, 200_000]
    values = [PLAIN.replace(b"en_route", b"x" * sizes[n % 6]) for n in range(120)]
    rows = validator().judge(batch_of(values), NOW_US).rows
    assert [len(text) for text in rows.column("status").to_pylist()] == [sizes[n % 6] for n in range(120)]
