"""From the name of a model to a contract, or a sentence that says what is wrong with it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any

import pyarrow as pa
import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    computed_field,
    create_model,
    field_validator,
)

from neptune_flow.contract import DeliveryData, EventTime, load_contract
from neptune_flow.contract.columns import INSTANT
from neptune_flow.contract.loading import contract_of
from neptune_flow.errors import ContractError

At = Annotated[datetime, EventTime()]


def model(**fields: Any) -> type[BaseModel]:
    """A model of these fields, required where they are bare types."""
    made: Any = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in fields.items()}
    return create_model("Made", **made)


def test_the_delivery_contract_has_the_documented_columns() -> None:
    contract = load_contract("neptune_flow.contract:DeliveryData")
    texts = ["device_id", "vehicle_id", "session_id", "order_id", "status"]
    places = ["start_lat", "start_lon", "end_lat", "end_lon", "current_lat", "current_lon"]
    assert contract.model is DeliveryData
    assert contract.name == "delivery:DeliveryData"
    assert contract.event_time == "timestamp"
    assert contract.schema.names == [*texts, "timestamp", *places, "event_date"]
    assert [column.type for column in contract.schema] == [pa.string()] * 5 + [INSTANT] + [pa.float64()] * 6 + [
        pa.date32()
    ]
    assert not any(column.nullable for column in contract.schema)


def test_a_contract_is_the_same_by_whatever_path_it_is_loaded() -> None:
    one, other = (
        load_contract("neptune_flow.contract:DeliveryData"),
        load_contract("neptune_flow.contract.delivery:DeliveryData"),
    )
    assert one == other


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("neptune_flow.contract", "does not name a contract"),
        (":Model", "does not name a contract"),
        ("no_such_module_at_all:Model", "cannot be imported"),
        ("neptune_flow.contract:Nothing", "has no 'Nothing'"),
        ("neptune_flow.contract:load_contract", "is no Pydantic model"),
        ("neptune_flow.contract:EventTime", "is no Pydantic model"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(reference: str, says: str) -> None:
    with pytest.raises(ContractError, match=says) as refused:
        load_contract(reference)
    assert refused.value.exit_code == 78


class Rooted(RootModel[int]):
    pass


class Zoned(BaseModel):
    at: At

    @computed_field  # type: ignore[prop-decorator]
    @property
    def event_date(self) -> date:
        return (self.at + timedelta(hours=2)).date()


class Worded(BaseModel):
    at: At

    @computed_field  # type: ignore[prop-decorator]
    @property
    def event_date(self) -> str:
        return self.at.date().isoformat()


class OfOtherFields(BaseModel):
    at: At
    day: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def event_date(self) -> date:
        return date.fromisoformat(self.day)


@pytest.mark.parametrize(
    ("contract", "says"),
    [
        (model(name=str), "exactly one event time, it has 0"),
        (model(one=At, two=At), "exactly one event time, it has 2"),
        (model(at=(At | None, None)), "may be absent"),
        (model(at=Annotated[datetime | None, EventTime()]), "may be absent"),
        (model(at=(At, datetime(2024, 1, 1))), "may be absent"),
        (model(at=Annotated[str, EventTime()]), "is no datetime"),
        (model(at=Annotated[date, EventTime()]), "is no datetime"),
        (model(at=At, rest=dict[str, int]), "'rest' has a type that no column can hold"),
        (model(at=At, event_date=date), "a column that Neptune derives"),
        (model(at=At, event_date=str), "a column that Neptune derives"),
        (model(at=At, name=(str, Field(validation_alias=AliasChoices("a", "b")))), "more than one name"),
        (Zoned, "is not the UTC day"),
        (Worded, "is no date"),
        (OfOtherFields, "is not the UTC day"),
        (Rooted, "has no fields"),
        (create_model("Bare"), "has no fields"),
    ],
)
def test_a_model_that_cannot_become_a_table_is_refused_with_a_sentence(contract: type[BaseModel], says: str) -> None:
    with pytest.raises(ContractError, match=says):
        contract_of(contract)


def test_event_date_is_derived_where_the_model_does_not_declare_it() -> None:
    schema = contract_of(model(at=At, name=str | None)).schema
    expected = [pa.field("at", INSTANT, nullable=False), pa.field("name", pa.string())]
    assert schema.equals(pa.schema([*expected, pa.field("event_date", pa.date32(), nullable=False)]))


def test_an_alias_names_the_key_and_not_the_column() -> None:
    assert contract_of(model(at=(At, Field(alias="ts")))).schema.names == ["at", "event_date"]


def test_the_fingerprint_ignores_words_and_sees_all_else() -> None:
    def of(**fields: Any) -> str:
        return contract_of(model(**fields)).fingerprint

    plain = of(at=At, name=str)
    assert plain == of(at=At, name=(str, Field(title="Name", description="who", examples=["x"])))
    others = [
        of(at=At, other=str),
        of(name=str, at=At),
        of(at=At, name=int),
        of(at=At, name=str | None),
        of(at=At, name=(str, "x")),
        of(at=At, name=Annotated[str, Field(min_length=1)]),
        of(at=At, name=(str, Field(alias="n"))),
        of(at=At, name=str, more=str),
        of(at=At, name=float),
        of(at=At, name=Annotated[float, Field(allow_inf_nan=False)]),
        of(at=At, title=str),
        of(at=At, description=str),
    ]
    assert len({plain, *others}) == len(others) + 1


def test_the_fingerprint_sees_a_validator_and_a_setting_of_the_model() -> None:
    class Made(BaseModel):
        at: At
        name: str

    plain = contract_of(Made).fingerprint

    class Checked(Made):
        @field_validator("name")
        @classmethod
        def no_space(cls, name: str) -> str:
            return name

    class Closed(Made):
        model_config = ConfigDict(extra="forbid")

    Checked.__qualname__ = Closed.__qualname__ = Made.__qualname__
    assert len({plain, contract_of(Checked).fingerprint, contract_of(Closed).fingerprint}) == 3


def test_the_fingerprint_of_the_delivery_contract_is_the_one_that_tables_know() -> None:
    assert load_contract("neptune_flow.contract:DeliveryData").fingerprint == "464597580149d971"
