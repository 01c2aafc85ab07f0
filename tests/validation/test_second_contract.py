"""A quite different contract goes the same way: another model is one setting and no other change."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from neptune_flow.contract import load_contract
from neptune_flow.contract.columns import INSTANT
from neptune_flow.records import Judged
from neptune_flow.validation import Validator
from tests.messages import batch_of

CONTRACT = load_contract("tests.contract.second_contract:Order")

ORDER: dict[str, Any] = {
    "order": "7F8B0D2C-1111-4222-8333-944455556666",
    "placed_at": "2024-05-01T23:30:00-02:00",
    "paid": True,
    "total": "12.30",
    "due": "2024-06-01",
    "colour": "red",
    "note": None,
    "address": {"street": "Main", "number": 5},
    "lines": [{"sku": "a", "count": 2}, {"sku": "b", "count": 3}],
}


def judge(*orders: dict[str, Any]) -> Judged:
    validator = Validator(CONTRACT, topic="orders", kafka_columns=False, extra_column=True, future_skew_s=300)
    return validator.judge(batch_of([json.dumps(order).encode() for order in orders]), 10**18)


def test_its_columns_are_derived_from_the_model() -> None:
    def required(name: str, kind: pa.DataType) -> pa.Field:
        return pa.field(name, kind, nullable=False)

    address = pa.struct([required("street", pa.string()), pa.field("number", pa.int64())])
    line = pa.struct([required("sku", pa.string()), required("count", pa.int64())])
    assert CONTRACT.schema.equals(
        pa.schema(
            [
                required("order", pa.string()),
                required("placed_at", INSTANT),
                required("paid", pa.bool_()),
                required("total", pa.decimal128(12, 2)),
                required("due", pa.date32()),
                required("colour", pa.string()),
                required("channel", pa.string()),
                pa.field("note", pa.string()),
                required("priority", pa.int64()),
                pa.field("shipped_at", INSTANT),
                required("address", address),
                required("lines", pa.list_(required("element", line))),
                required("tags", pa.list_(required("element", pa.string()))),
                pa.field("seal", pa.binary()),
                required("pieces", pa.int64()),
                required("event_date", pa.date32()),
            ]
        )
    )


def test_a_message_becomes_a_row_of_it() -> None:
    more = {
        "channel": "shop",
        "priority": -3,
        "shipped_at": "2024-05-03T00:00:00Z",
        "tags": ["x"],
        "seal": "é",
        "note": "n",
    }
    unknown = {"address": {"street": "Side", "zip": 1.5}, "carrier": "c"}
    judged = judge(ORDER, {**ORDER, **more, **unknown})
    assert judged.rejects.num_rows == 0
    plain, full = judged.rows.to_pylist()
    assert plain == {
        "order": "7f8b0d2c-1111-4222-8333-944455556666",
        "placed_at": datetime(2024, 5, 2, 1, 30, tzinfo=UTC),
        "paid": True,
        "total": Decimal("12.30"),
        "due": date(2024, 6, 1),
        "colour": "red",
        "channel": "web",
        "note": None,
        "priority": 0,
        "shipped_at": None,
        "address": {"street": "Main", "number": 5},
        "lines": [{"sku": "a", "count": 2}, {"sku": "b", "count": 3}],
        "tags": [],
        "seal": None,
        "pieces": 5,
        "event_date": date(2024, 5, 2),
        "_extra": None,
    }
    assert full["_extra"] == '{"address":{"zip":1.5},"carrier":"c"}'
    assert (full["channel"], full["priority"], full["tags"], full["note"]) == ("shop", -3, ["x"], "n")
    assert (full["seal"], full["shipped_at"]) == ("é".encode(), datetime(2024, 5, 3, tzinfo=UTC))
    assert full["address"] == {"street": "Side", "number": None}


@pytest.mark.parametrize("zero", ["0E+400", "-0", "0E-2"])
def test_a_zero_is_stored_however_its_exponent_is_written(zero: str) -> None:
    assert judge({**ORDER, "total": zero}).rows.column("total").to_pylist() == [Decimal("0.00")]


@pytest.mark.parametrize(
    ("change", "field", "kind"),
    [
        ({"order": "no uuid"}, "order", "uuid_parsing"),
        ({"paid": "true"}, "paid", "bool_type"),
        ({"total": "12.345"}, "total", "decimal_max_places"),
        ({"total": "NaN"}, "total", "finite_number"),
        ({"due": "2024-02-30"}, "due", "date_parsing"),
        ({"colour": "blue"}, "colour", "enum"),
        ({"channel": "phone"}, "channel", "literal_error"),
        ({"note": 5}, "note", "string_type"),
        ({"priority": 1.0}, "priority", "int_type"),
        ({"address": {"number": 5}}, "address.street", "missing"),
        ({"address": {"street": "Main", "number": "5"}}, "address.number", "int_type"),
        ({"lines": [{"sku": "a", "count": 2}, {"sku": "b", "count": 0}]}, "lines.1.count", "greater_than"),
        ({"tags": [1]}, "tags.0", "string_type"),
        ({"priority": 2**63}, "priority", "not_storable"),
    ],
)
def test_a_message_that_it_refuses_has_its_field_and_kind(change: dict[str, Any], field: str, kind: str) -> None:
    judged = judge(ORDER, {**ORDER, **change}, ORDER)
    assert judged.rows.num_rows == 2
    (reject,) = judged.rejects.to_pylist()
    assert [(reason["field"], reason["kind"]) for reason in reject["reasons"]] == [(field, kind)]
    assert reject["contract"] == f"second_contract:Order@{CONTRACT.fingerprint}"
