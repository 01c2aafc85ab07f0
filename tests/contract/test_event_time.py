"""How an event time is read: as Pydantic does, in ISO 8601 form, as an instant in UTC."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated

import pytest
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from neptune_flow.contract.event_time import KIND_FORM, KIND_RANGE, EventTime

TIME: TypeAdapter[datetime] = TypeAdapter(Annotated[datetime, EventTime()])


def read(text: str) -> datetime:
    return TIME.validate_json(json.dumps(text), strict=True)


def refusal(value: object) -> str:
    with pytest.raises(ValidationError) as refused:
        TIME.validate_json(json.dumps(value), strict=True)
    return refused.value.errors()[0]["type"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:00:00", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01T12:00:00Z", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01t12:00:00z", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01 12:00", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01T12:00:00.5", datetime(2024, 5, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2024-05-01T12:00:00,25", datetime(2024, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("2024-05-01T12:00:00.123456999", datetime(2024, 5, 1, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2024-05-01T12:00:00+02:00", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T12:00:00-0530", datetime(2024, 5, 1, 17, 30, tzinfo=UTC)),
        ("2024-05-01T00:30:00+02:00", datetime(2024, 4, 30, 22, 30, tzinfo=UTC)),
        ("0001-01-01T00:00:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_iso_8601_text_is_an_instant_in_utc(text: str, expected: datetime) -> None:
    moment = read(text)
    assert moment == expected
    assert moment.utcoffset() == timedelta(0)
    assert moment.date() == expected.date()


@pytest.mark.parametrize(
    "text", ["1704067200", "1704067200.5", "-1", "2024-05-01_12:00:00", "2024-05-01T12:00:00−02:00"]
)
def test_text_that_pydantic_would_guess_at_is_refused_by_its_form(text: str) -> None:
    assert refusal(text) == KIND_FORM


@pytest.mark.parametrize("value", [1704067200, 1704067200.5, True, None, [], {}])
def test_a_json_value_that_is_no_string_is_refused(value: object) -> None:
    assert refusal(value) == "datetime_type"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "now",
            "2024-05-01",
            "2024-05-01T12",
            "10000-01-01T00:00:00",
            "0000-01-01T00:00:00",
            "2024-02-30T00:00:00",
        ),
        *(
            "2024-05-01T23:59:60Z",
            "2024-05-01T24:00:00",
            "2024-05-01T12:00:00+24:00",
            "2024-05-01T12:00:00+02",
            " 2024-05-01T12:00:00",
        ),
        *("20240501T120000", "2024-W18-3T12:00:00", "2024-05-01T12:00:00.", "2024-05-01T12:00:00Z "),
    ],
)
def test_text_that_is_no_time_is_refused_by_pydantic(text: str) -> None:
    assert refusal(text) == "datetime_parsing"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"])
def test_an_instant_outside_the_years_1_to_9999_is_refused(text: str) -> None:
    assert refusal(text) == KIND_RANGE


def test_a_datetime_in_python_is_taken_and_converted() -> None:
    assert TIME.validate_python(datetime(2024, 5, 1, 12), strict=True) == datetime(2024, 5, 1, 12, tzinfo=UTC)
    east = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert TIME.validate_python(east, strict=True).date() == datetime(2024, 5, 1).date()


def test_the_types_own_constraints_still_hold() -> None:
    aware: TypeAdapter[datetime] = TypeAdapter(Annotated[AwareDatetime, EventTime()])
    assert aware.validate_json('"2024-05-01T12:00:00+02:00"') == datetime(2024, 5, 1, 10, tzinfo=UTC)
    with pytest.raises(ValidationError, match="timezone_aware"):
        aware.validate_json('"2024-05-01T12:00:00"')
    late: TypeAdapter[datetime] = TypeAdapter(
        Annotated[datetime, Field(ge=datetime(2020, 1, 1, tzinfo=UTC)), EventTime()]
    )
    with pytest.raises(ValidationError, match="greater_than_equal"):
        late.validate_json('"2019-05-01T12:00:00"')


def test_the_json_schema_calls_it_a_date_time() -> None:
    class Model(BaseModel):
        at: Annotated[datetime, EventTime()]

    assert Model.model_json_schema()["properties"]["at"]["format"] == "date-time"
