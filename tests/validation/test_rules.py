"""Which contracts the fast way may judge: those of which it understands every key of the core schema."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    computed_field,
    create_model,
    field_validator,
    model_validator,
)

from neptune_flow.contract import DeliveryData, EventTime
from neptune_flow.contract.loading import contract_of
from neptune_flow.validation.rules import Instant, Number, Text, flat_rules
from tests.contract.second_contract import Order
from tests.validation.test_fast_way import EVENT

At = Annotated[datetime, EventTime()]


def test_the_delivery_contract_has_flat_rules() -> None:
    text, latitude, longitude = (
        Text(1),
        Number(False, -90, 90),
        Number(False, -180, 180),
    )
    kinds = [text] * 5 + [Instant(is_event_time=True)] + [latitude, longitude] * 3
    assert flat_rules(contract_of(DeliveryData)) == {
        name: (name, kind) for name, kind in zip(EVENT, kinds, strict=True)
    }


class Base(BaseModel):
    at: At
    name: str


class WithFieldValidator(Base):
    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        return name


class WithModelValidator(Base):
    @model_validator(mode="after")
    def check(self) -> WithModelValidator:
        return self


class WithModelWrap(Base):
    @model_validator(mode="wrap")
    @classmethod
    def check(cls, data: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
        return handler(data)


class WithPostInit(Base):
    def model_post_init(self, context: Any) -> None:
        pass


class WithInit(Base):
    def __init__(self, **data: Any) -> None:
        super().__init__(**data)


class WithComputed(Base):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def upper(self) -> str:
        return self.name.upper()


class Stripped(Base):
    model_config = ConfigDict(str_strip_whitespace=True)


class ByName(Base):
    model_config = ConfigDict(populate_by_name=True)


def with_field(kind: Any, default: Any = ...) -> type[BaseModel]:
    made: Any = {"at": (At, ...), "field": (kind, default)}
    return create_model("Made", **made)


@pytest.mark.parametrize(
    "model",
    [
        *(
            WithFieldValidator,
            WithModelValidator,
            WithModelWrap,
            WithPostInit,
            WithInit,
            WithComputed,
            Stripped,
            ByName,
            Order,
        ),
        with_field(str | None),
        with_field(str, "x"),
        with_field(bool),
        with_field(bytes),
        with_field(list[str]),
        with_field(DeliveryData),
        with_field(AwareDatetime),
        with_field(Annotated[str, Field(pattern="^a")]),
        with_field(Annotated[str, AfterValidator(str.upper)]),
        with_field(Annotated[int, Field(multiple_of=2)]),
        with_field(Annotated[float, Field(multiple_of=0.5)]),
        with_field(Annotated[datetime, Field(gt=datetime(2024, 1, 1, tzinfo=UTC))]),
        create_model("Bounded", at=(Annotated[datetime, Field(gt=datetime(2024, 1, 1, tzinfo=UTC)), EventTime()], ...)),
        create_model(
            "BoundedOutside", at=(Annotated[datetime, EventTime(), Field(gt=datetime(2024, 1, 1, tzinfo=UTC))], ...)
        ),
    ],
)
def test_a_contract_that_asks_for_more_is_left_to_pydantic(model: type[BaseModel]) -> None:
    assert flat_rules(contract_of(model)) is None
