"""Values as text: nothing is lost that JSON can hold, and what it cannot hold stays readable."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest

from neptune_flow.inspection.values import is_number, json_of, text_of

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ("a\n'\"b", "a\n'\"b"),
        (b"text", "text"),
        (b"\xff\x00", "/wA="),
        (NOON, "2025-03-01T12:00:00Z"),
        (NOON.replace(tzinfo=None), "2025-03-01T12:00:00"),
        (date(2025, 3, 1), "2025-03-01"),
        (time(12, 30), "12:30:00"),
        (timedelta(minutes=90), "1:30:00"),
        (Decimal("3.50"), "3.50"),
        (Decimal("170141183460469231731687303715884105727"), "170141183460469231731687303715884105727"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"a": [NOON, b"\xff", float("inf")]}, '{"a": ["2025-03-01T12:00:00Z", "/w==", "inf"]}'),
        ([("key", 1)], '[["key", 1]]'),
    ],
)
def test_each_kind_of_value_has_one_text(value: object, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("value", [{"a": float("nan"), "b": NOON, "c": "ü"}, [1, [2, {"x": None}]], "text", 7])
def test_json_can_always_be_read_again(value: object) -> None:
    text = json_of(value)
    assert "NaN" not in text
    json.loads(text)


def test_numbers_stand_to_the_right_and_nothing_else() -> None:
    kinds = [pa.int32(), pa.float64(), pa.decimal128(5, 2), pa.string(), pa.bool_(), pa.date32()]
    assert [is_number(kind) for kind in kinds] == [True, True, True, False, False, False]
