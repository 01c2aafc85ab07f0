"""Pydantic's verdict: bounded reasons, and a reason for whatever a contract's own functions do."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, computed_field, field_validator

from neptune_flow.contract import EventTime
from neptune_flow.contract.loading import contract_of
from neptune_flow.records import Judged
from neptune_flow.validation import Validator
from neptune_flow.validation.one_by_one import (
    FIELD_CHARS_MAX,
    KIND_CONTRACT_RAISED,
    KIND_MORE,
    KIND_NOT_STORABLE,
    MESSAGE_CHARS_MAX,
    REASONS_MAX,
)
from tests.messages import batch_of

AT = '"at": "2024-05-01T12:00:00"'


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at: Annotated[datetime, EventTime()]
    name: str = ""
    count: int = 0
    counts: list[int] = []
    seen: datetime | None = None

    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        if name == "key":
            raise KeyError(name)
        if name.startswith("long"):
            raise ValueError(name)
        if name == "surrogate":
            raise ValueError("\ud800")
        return name

    @computed_field  # type: ignore[prop-decorator]
    @property
    def share(self) -> float:
        return 1 / (self.count - 7)


def judge(*members: str) -> Judged:
    validator = Validator(
        contract_of(Model),
        topic="t",
        kafka_columns=False,
        extra_column=True,
        future_skew_s=300,
        value_bytes_max=1 << 22,
    )
    values = [f"{{{AT}, {member}}}".encode() for member in members]
    return validator.judge(batch_of(values), 10**18)


def reasons(member: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = judge(member).rejects.column("reasons")[0].as_py()
    return found


def test_reasons_are_listed_up_to_a_limit_and_then_counted() -> None:
    found = reasons(f'"counts": {json.dumps(["x"] * 50)}')
    assert [reason["field"] for reason in found] == [*(f"counts.{n}" for n in range(REASONS_MAX - 1)), None]
    assert found[-1] == {"field": None, "kind": KIND_MORE, "message": f"{50 - REASONS_MAX + 1} more"}


def test_very_many_reasons_are_only_counted() -> None:
    (reason,) = reasons(f'"counts": {json.dumps(["x"] * 200_000)}')
    assert reason == {"field": None, "kind": KIND_MORE, "message": "200000 values are refused, too many to list"}


def test_the_text_of_a_reason_is_bounded() -> None:
    (reason,) = reasons(f'"name": "long{"x" * 100_000}"')
    assert reason["kind"] == "value_error"
    assert len(reason["message"]) == MESSAGE_CHARS_MAX


def test_the_field_of_a_reason_is_bounded() -> None:
    (reason,) = reasons(f'"{"x" * 100_000}": 1')
    assert reason["kind"] == "extra_forbidden"
    assert len(reason["field"]) == FIELD_CHARS_MAX


def test_a_refusal_that_is_no_unicode_is_a_reason_all_the_same() -> None:
    assert reasons('"name": "surrogate"')[0]["kind"] == KIND_CONTRACT_RAISED


def test_a_validator_that_raises_something_else_is_a_reason() -> None:
    assert reasons('"name": "key"') == [{"field": None, "kind": KIND_CONTRACT_RAISED, "message": "KeyError: 'key'"}]


def test_a_computed_field_that_raises_is_a_reason() -> None:
    (reason,) = reasons('"count": 7')
    assert reason["kind"] == KIND_CONTRACT_RAISED
    assert "ZeroDivisionError" in reason["message"]


def test_a_value_that_its_column_cannot_hold_is_a_reason_and_costs_its_neighbours_nothing() -> None:
    judged = judge(
        '"count": 1', '"count": 9223372036854775808', '"count": 2', '"counts": [1, -9223372036854775809]', '"count": 3'
    )
    assert judged.rows.column("count").to_pylist() == [1, 2, 3]
    assert judged.rejects.column("offset").to_pylist() == [1, 3]
    assert [why[0]["kind"] for why in judged.rejects.column("reasons").to_pylist()] == [KIND_NOT_STORABLE] * 2
    assert [why[0]["field"] for why in judged.rejects.column("reasons").to_pylist()] == ["count", "counts"]


def test_a_plain_time_without_an_offset_means_utc_and_one_that_leaves_the_years_is_not_stored() -> None:
    judged = judge(
        '"seen": "2024-05-01T12:00:00"', '"seen": "2024-05-01T12:00:00+02:00"', '"seen": "0001-01-01T00:00:00+02:00"'
    )
    assert [moment.hour for moment in judged.rows.column("seen").to_pylist()] == [12, 10]
    assert judged.rejects.column("offset").to_pylist() == [2]
