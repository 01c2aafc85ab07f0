"""A contract that has little in common with a delivery event: what another topic might carry."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, computed_field

from neptune_flow.contract import EventTime


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Address(BaseModel):
    street: str
    number: int | None = None


class Line(BaseModel):
    sku: str
    count: Annotated[int, Field(gt=0)]


class Order(BaseModel):
    """An order, of all kinds of columns."""

    model_config = ConfigDict(strict=True)

    order: UUID
    placed_at: Annotated[datetime, EventTime()]
    paid: bool
    total: Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
    due: date
    colour: Colour
    channel: Literal["web", "shop"] = "web"
    note: str | None
    priority: int = 0
    shipped_at: datetime | None = None
    address: Address
    lines: list[Line]
    tags: list[str] = []
    seal: bytes | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def pieces(self) -> int:
        return sum(line.count for line in self.lines)
