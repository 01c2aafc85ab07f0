"""What a contract does not name is kept as JSON text with nothing lost."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from neptune_flow.contract import DeliveryData, EventTime
from neptune_flow.contract.loading import contract_of
from neptune_flow.validation import Validator
from neptune_flow.validation.extra import Extra
from neptune_flow.validation.layouts import MESSAGES_MIN
from tests.messages import batch_of
from tests.validation.test_fast_way import PLAIN


class Inner(BaseModel):
    a: int


class Outer(BaseModel):
    name: str
    alias: str = Field(default="", alias="as")
    inner: Inner | None = None
    inners: list[Inner] = []
    deep: list[list[Inner]] = []


EXTRA = Extra(Outer)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"name": "x"}', None),
        ('{"name": "x", "as": "y", "inner": {"a": 1}, "inners": [{"a": 1}], "deep": [[{"a": 1}]]}', None),
        ('{"name": "x", "inner": null}', None),
        ('{"name": "x", "b": 1.10}', '{"b":1.10}'),
        ('{"b": 12345678901234567890.123, "name": "x"}', '{"b":12345678901234567890.123}'),
        ('{"name": "x", "b": -0, "c": 1E+2, "d": null, "e": true}', '{"b":-0,"c":1E+2,"d":null,"e":true}'),
        (r'{"name": "x", "b": "\u00e9\/\ud83d\ude00"}', r'{"b":"\u00e9\/\ud83d\ude00"}'),
        ('{"name": "x", "b": {"c": [1, 2.50], "c": 3}}', '{"b":{"c": [1, 2.50], "c": 3}}'),
        ('{"name": "x", "b": 1, "c": 2, "b": 3}', '{"b":3,"c":2}'),
        (r'{"name": "x", "\u0062\"é\n": 1}', r'{"b\"é\n":1}'),
        ('{"name": "x", "alias": "y"}', '{"alias":"y"}'),
        ('{"name": "x", "inner": {"a": 1, "b": 2.0}}', '{"inner":{"b":2.0}}'),
        ('{"name": "x", "inners": [{"a": 1}, {"a": 1, "b": 2}]}', '{"inners":[null,{"b":2}]}'),
        ('{"name": "x", "deep": [[], [{"a": 1, "b": 2}]]}', '{"deep":[null,[{"b":2}]]}'),
        ('{"name": "x", "b": NaN, "c": [-Infinity, Infinity, "NaN"]}', '{"b":NaN,"c":[-Infinity, Infinity, "NaN"]}'),
        (r'{"name": "x", "~": "~NaN", "\u007e~NaN": NaN}', '{"~":"~NaN","~~NaN":NaN}'),
        ('{"name": "x", "": 1}', '{"":1}'),
    ],
)
def test_unknown_fields_are_kept_as_they_are_written(message: str, expected: str | None) -> None:
    assert EXTRA.of(message.encode()) == expected


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=5).filter(lambda key: key not in (*Outer.model_fields, "as")), JSON, max_size=5)
)
def test_unknown_fields_come_back_as_they_were(unknown: dict[str, object]) -> None:
    text = EXTRA.of(json.dumps({"name": "x", **unknown}).encode())
    assert repr(json.loads(text or "{}")) == repr(unknown)


def validator(model: type[BaseModel] = DeliveryData, *, extra_column: bool = True) -> Validator:
    return Validator(contract_of(model), topic="t", kafka_columns=False, extra_column=extra_column, future_skew_s=300)


UNKNOWN = [
    (b'"battery": 0.50', '{"battery":0.50}'),
    (b'"battery": 12345678901234567890', '{"battery":12345678901234567890}'),
    (b'"driver": "\xc3\xa9, x"', '{"driver":"é, x"}'),
    (b'"driver": ""', '{"driver":""}'),
    (b'"n": -0, "driver \xc3\xa9": "x"', '{"n":-0,"driver é":"x"}'),
]


@pytest.mark.parametrize(("member", "expected"), UNKNOWN)
@pytest.mark.parametrize("place", ["first", "last"])
def test_the_fast_way_keeps_unknown_fields_alike(member: bytes, expected: str, place: str) -> None:
    message = b"{" + member + b", " + PLAIN[1:] if place == "first" else PLAIN[:-1] + b", " + member + b"}"
    judge = validator()
    slow = judge.judge(batch_of([message]), 10**18).rows
    fast = judge.judge(batch_of([message] * MESSAGES_MIN), 10**18).rows
    assert slow.column("_extra").to_pylist() == [expected]
    assert fast.column("_extra").to_pylist() == [expected] * MESSAGES_MIN


def test_messages_with_and_without_unknown_fields_stand_side_by_side() -> None:
    more = PLAIN[:-1] + b', "battery": 1}'
    judge = validator()
    for message in (PLAIN, more):
        judge.judge(batch_of([message]), 10**18)
    rows = judge.judge(batch_of([PLAIN, more] * MESSAGES_MIN), 10**18).rows
    assert rows.column("_extra").to_pylist() == [None, '{"battery":1}'] * MESSAGES_MIN


def test_without_the_column_unknown_fields_are_left_out() -> None:
    message = PLAIN[:-1] + b', "battery": 1}'
    judge = validator(extra_column=False)
    judge.judge(batch_of([message]), 10**18)
    rows = judge.judge(batch_of([message] * MESSAGES_MIN), 10**18).rows
    assert rows.schema.equals(contract_of(DeliveryData).schema)
    assert rows.num_rows == MESSAGES_MIN


@pytest.mark.parametrize("extra", ["allow", "ignore", "forbid"])
def test_only_a_model_that_forbids_them_refuses_unknown_fields(extra: str) -> None:
    class Model(BaseModel):
        model_config = ConfigDict(extra=extra)  # type: ignore[typeddict-item]

        at: Annotated[datetime, EventTime()]

    plain, more = b'{"at": "2024-05-01T12:00:00"}', b'{"at": "2024-05-01T12:00:00", "b": 1.0}'
    judge = validator(Model)
    judge.judge(batch_of([plain]), 10**18)
    judged = judge.judge(batch_of([plain, more] * MESSAGES_MIN), 10**18)
    if extra == "forbid":
        assert judged.rejects.num_rows == MESSAGES_MIN
        assert judged.rejects.column("reasons")[0].as_py()[0] == {
            "field": "b",
            "kind": "extra_forbidden",
            "message": "Extra inputs are not permitted",
        }
    else:
        assert judged.rows.column("_extra").to_pylist() == [None, '{"b":1.0}'] * MESSAGES_MIN
    assert isinstance(judged.rows.column("at"), pa.Array)
