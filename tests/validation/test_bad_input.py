"""Bad input ends in quarantine with its reasons, never in a crash; what looks bad but is not is a row."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from neptune_flow.contract import DeliveryData
from neptune_flow.contract.loading import contract_of
from neptune_flow.records import Judged
from neptune_flow.validation import Validator
from neptune_flow.validation.layouts import MESSAGES_MIN
from neptune_flow.validation.one_by_one import KIND_TOO_LARGE, MESSAGE_CHARS_MAX
from neptune_flow.validation.rejects import KIND_HEADERS
from tests.messages import SampleMessage, batch_from, batch_of
from tests.validation.test_fast_way import EVENT, PLAIN

Reasons = list[tuple[str | None, str]] | None
Judge = Callable[[bytes | None], Reasons]

NOW_US = 1_714_600_000_000_000
LARGE = 4_000_000


@pytest.fixture(params=["alone", "among others"])
def judge(request: pytest.FixtureRequest) -> Judge:
    """Judges one message, alone or among good ones that the fast way takes; returns its reasons, None where it is a row."""
    validator = Validator(
        contract_of(DeliveryData),
        topic="t",
        kafka_columns=True,
        extra_column=True,
        future_skew_s=300,
        value_bytes_max=10 * LARGE,
    )
    validator.judge(batch_of([PLAIN]), NOW_US)
    around = [PLAIN] * (MESSAGES_MIN if request.param == "among others" else 0)

    def judged(value: bytes | None) -> Reasons:
        found: Judged = validator.judge(batch_of([*around, value, *around]), NOW_US)
        assert found.rows.num_rows + found.rejects.num_rows == 2 * len(around) + 1
        if not found.rejects.num_rows:
            return None
        (reject,) = found.rejects.to_pylist()
        assert reject["offset"] == len(around)
        assert reject["value"] == value
        assert all(len(reason["message"]) <= MESSAGE_CHARS_MAX for reason in reject["reasons"])
        return [(reason["field"], reason["kind"]) for reason in reject["reasons"]]

    return judged


def event(**changes: Any) -> bytes:
    return json.dumps({**EVENT, **changes}).encode()


WHOLE = [(None, "json_invalid")]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"   ", id="white space"),
        pytest.param(b"\xff\xfe\x00", id="binary"),
        pytest.param(b"not json", id="text"),
        pytest.param(PLAIN.replace(b"en_route", b"\xff"), id="not UTF-8"),
        pytest.param(PLAIN[:-1] + b', "x": "\xff"}', id="not UTF-8 in an unknown field"),
        pytest.param(PLAIN.replace(b"en_route", b"\xed\xa0\x80"), id="a surrogate in UTF-8"),
        pytest.param(PLAIN.replace(b"en_route", rb"\ud800"), id="a lone surrogate"),
        pytest.param(PLAIN.replace(b"en_route", rb"\udc00\ud800"), id="surrogates in the wrong order"),
        pytest.param(b"\xef\xbb\xbf" + PLAIN, id="a byte order mark"),
        pytest.param(PLAIN.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(PLAIN[: len(PLAIN) // 2], id="truncated"),
        pytest.param(PLAIN + b"x", id="trailing text"),
        pytest.param(PLAIN + PLAIN, id="two objects"),
        pytest.param(PLAIN[:-1] + b",}", id="a trailing comma"),
        pytest.param(PLAIN.replace(b"en_route", b"en\troute"), id="a raw tab in a string"),
        pytest.param(PLAIN.replace(b"en_route", b"en\x00route"), id="a raw zero in a string"),
        pytest.param(PLAIN.replace(b"40.5", b"040.5"), id="a leading zero"),
        pytest.param(PLAIN.replace(b"40.5", b"1" * 5000), id="an integer of 5000 digits"),
        pytest.param(b"[" * 10_000, id="10,000 open brackets"),
        pytest.param(b"[" * 10_000 + b"]" * 10_000, id="nesting 10,000 deep"),
        pytest.param(
            PLAIN[:-1] + b', "x": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, id="an unknown field 10,000 deep"
        ),
        pytest.param(b"[" * 5_000_000, id="5,000,000 open brackets"),
    ],
)
def test_what_is_no_json_is_refused(judge: Judge, value: bytes) -> None:
    assert judge(value) == WHOLE


@pytest.mark.parametrize("value", [b"null", b"5", b'"s"', b"[]", b"true"])
def test_json_that_is_no_object_is_refused(judge: Judge, value: bytes) -> None:
    assert judge(value) == [(None, "model_type")]


def test_a_null_value_is_refused(judge: Judge) -> None:
    assert judge(None) == [(None, "null_value")]


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"])
def test_a_number_that_is_not_finite_is_refused(judge: Judge, token: bytes) -> None:
    assert judge(PLAIN.replace(b"40.5", token)) == [("start_lat", "finite_number")]


@pytest.mark.parametrize("field", EVENT)
def test_an_absent_field_is_refused(judge: Judge, field: str) -> None:
    assert judge(json.dumps({k: v for k, v in EVENT.items() if k != field}).encode()) == [(field, "missing")]


@pytest.mark.parametrize("field", EVENT)
def test_a_null_field_is_refused(judge: Judge, field: str) -> None:
    kind = "datetime_type" if field == "timestamp" else "string_type" if isinstance(EVENT[field], str) else "float_type"
    assert judge(event(**{field: None})) == [(field, kind)]


NO_TEXTS: list[Any] = [1, 1.5, True, [], {}, ["d-1"]]
NO_NUMBERS: list[Any] = ["40.6", True, [], {}, [1.0]]
NO_TIMES: list[Any] = [1704067200, 1704067200000, 1704067200.5, True, [], {}]
WRONG: list[tuple[str, Any, str]] = [
    *[("device_id", value, "string_type") for value in NO_TEXTS],
    *[("start_lat", value, "float_type") for value in NO_NUMBERS],
    *[("timestamp", value, "datetime_type") for value in NO_TIMES],
    ("timestamp", "1704067200", "event_time_form"),
    ("timestamp", "10000-01-01T00:00:00", "datetime_parsing"),
    ("timestamp", "2024-05-01T23:59:60Z", "datetime_parsing"),
    ("timestamp", "2024-02-30T00:00:00", "datetime_parsing"),
    ("timestamp", "0001-01-01T00:00:00+01:00", "event_time_out_of_range"),
    ("timestamp", "9999-12-31T23:59:59", "event_time_in_future"),
    ("timestamp", "9999-12-31T23:59:59-01:00", "event_time_out_of_range"),
    ("status", "", "string_too_short"),
    ("start_lat", 90.1, "less_than_equal"),
    ("end_lat", -91, "greater_than_equal"),
    ("start_lon", 180.1, "less_than_equal"),
    ("current_lon", 10**25, "less_than_equal"),
]


@pytest.mark.parametrize(("field", "value", "kind"), WRONG)
def test_a_wrong_value_is_refused_with_its_field_and_kind(judge: Judge, field: str, value: Any, kind: str) -> None:
    assert judge(event(**{field: value})) == [(field, kind)]


def test_every_wrong_field_has_its_reason(judge: Judge) -> None:
    assert judge(event(device_id=1, end_lat="x", current_lon=None)) == [
        ("device_id", "string_type"),
        ("end_lat", "float_type"),
        ("current_lon", "float_type"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(b" \r\n\t" + PLAIN + b"\n ", id="white space around"),
        pytest.param(PLAIN[:-1] + b', "status": "last"}', id="the same key twice, both good"),
        pytest.param(b'{"status": 5, ' + PLAIN[1:], id="the same key twice, the last one good"),
        pytest.param(event(status="\x00"), id="an escaped zero"),
        pytest.param(event(status="😀"), id="an escaped pair of surrogates"),
        pytest.param(event(device_id=" not an {id} "), id="an id of any form"),
        pytest.param(event(start_lat=-0.0, end_lat=90, end_lon=-180), id="limits and a negative zero"),
        pytest.param(PLAIN.replace(b'"status"', rb'"st\u0061tus"'), id="an escape in a key"),
        pytest.param(PLAIN[:-1] + b', "x": ' + b"[" * 190 + b"]" * 190 + b"}", id="an unknown field 190 deep"),
        pytest.param(PLAIN[:-1] + b', "x": [NaN, -Infinity, 1e999]}', id="an unknown field that is not finite"),
        pytest.param(event(timestamp="2024-05-01T14:00:00.123456789+02:00"), id="an offset and nine digits"),
    ],
)
def test_what_only_looks_bad_is_a_row(judge: Judge, value: bytes) -> None:
    assert judge(value) is None


def test_the_same_key_twice_with_the_last_one_bad_is_refused(judge: Judge) -> None:
    assert judge(PLAIN[:-1] + b', "status": 5}') == [("status", "string_type")]


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        pytest.param(event(status="x" * LARGE), None, id="a good text"),
        pytest.param(event(status="é" * LARGE), None, id="a good text in escapes"),
        pytest.param(event(start_lat="x" * LARGE), [("start_lat", "float_type")], id="a text for a number"),
        pytest.param(event(timestamp="1" * LARGE), [("timestamp", "datetime_parsing")], id="a text for a time"),
        pytest.param(b"x" * LARGE, WHOLE, id="no JSON"),
        pytest.param(b'"' * LARGE, WHOLE, id="nothing but quotation marks"),
        pytest.param(PLAIN.replace(b"40.5", b"1" * LARGE), WHOLE, id="an integer"),
        pytest.param(PLAIN.replace(b"40.5", b"0." + b"1" * LARGE), None, id="a fraction"),
        pytest.param(
            PLAIN[:-1] + b', "x": ["~~", ' + b"NaN, " * (LARGE // 50) + b"1]}", None, id="an unknown list with tokens"
        ),
        pytest.param(b"[" + b"1," * (LARGE // 4) + b"1]", [(None, "model_type")], id="a list"),
    ],
)
def test_a_value_of_many_megabytes_costs_seconds_and_a_few_times_its_size(
    judge: Judge, value: bytes, reasons: Reasons
) -> None:
    before, start = peak_bytes(), time.process_time()
    assert judge(value) == reasons
    assert time.process_time() - start < 10
    assert peak_bytes() - before < 40 * len(value)


def test_a_value_longer_than_the_limit_is_refused_without_being_parsed() -> None:
    validator = Validator(
        contract_of(DeliveryData), topic="t", kafka_columns=True, extra_column=True, future_skew_s=300
    )
    value = b'{"x": [' + b"1," * 5_000_000 + b"1]}"
    before = peak_bytes()
    (reject,) = validator.judge(batch_of([value]), NOW_US).rejects.to_pylist()
    assert [reason["kind"] for reason in reject["reasons"]] == [KIND_TOO_LARGE]
    assert reject["value"] == value
    assert peak_bytes() - before < 10 * len(value)


class MessageWithAHeaderNoOneCanRead(SampleMessage):
    """As the client is for a header whose name is not UTF-8."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        raise SystemError("<method 'headers'> returned a result with an exception set")


def test_a_refused_message_whose_headers_the_client_cannot_read_says_so_and_stops_nothing() -> None:
    validator = Validator(
        contract_of(DeliveryData), topic="t", kafka_columns=True, extra_column=True, future_skew_s=300
    )
    batch = batch_from([MessageWithAHeaderNoOneCanRead(b"no JSON")], 0, 0)
    (reject,) = validator.judge(batch, NOW_US).rejects.to_pylist()
    assert [reason["kind"] for reason in reject["reasons"]] == ["json_invalid", KIND_HEADERS]
    assert reject["headers"] is None


def peak_bytes() -> int:
    """Peak resident size of the process; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def test_deep_nesting_is_refused_on_a_thread_with_a_small_stack() -> None:
    validator = Validator(
        contract_of(DeliveryData), topic="t", kafka_columns=False, extra_column=True, future_skew_s=300
    )
    found: list[Judged] = []
    threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(validator.judge(batch_of([b"[" * 10_000]), NOW_US)))
        thread.start()
        thread.join(timeout=60)
    finally:
        threading.stack_size(0)
    assert found[0].rejects.num_rows == 1
