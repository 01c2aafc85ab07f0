"""Which column a type becomes, and what is said where there is none."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pyarrow as pa
import pytest
from pydantic import AwareDatetime, BaseModel, Field, RootModel

from neptune_flow.contract.columns import INSTANT, column_of
from neptune_flow.errors import ContractError
from tests.contract.second_contract import Address

Id = NewType("Id", str)


class Word(Enum):
    A = "a"


class Rank(IntEnum):
    ONE = 1


class Mixed(Enum):
    A = "a"
    ONE = 1


class Endless(BaseModel):
    inner: list[Endless]


class Empty(BaseModel):
    pass


class Root(RootModel[int]):
    pass


ADDRESS = pa.struct([pa.field("street", pa.string(), nullable=False), pa.field("number", pa.int64())])


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, pa.string()),
        (Id, pa.string()),
        (Annotated[str, Field(min_length=1)], pa.string()),
        (float, pa.float64()),
        (int, pa.int64()),
        (bool, pa.bool_()),
        (bytes, pa.binary()),
        (date, pa.date32()),
        (datetime, INSTANT),
        (AwareDatetime, INSTANT),
        (UUID, pa.string()),
        (Word, pa.string()),
        (Rank, pa.int64()),
        (Literal["a", "b"], pa.string()),
        (Annotated[Decimal, Field(max_digits=9, decimal_places=2)], pa.decimal128(9, 2)),
        (Address, ADDRESS),
        (list[str], pa.list_(pa.field("element", pa.string(), nullable=False))),
        (list[Address | None], pa.list_(pa.field("element", ADDRESS))),
    ],
)
def test_a_type_has_its_column(annotation: Any, expected: pa.DataType) -> None:
    column = column_of("field", annotation)
    assert column.equals(pa.field("field", expected, nullable=False))


@pytest.mark.parametrize("annotation", [str, int, Address, list[int]])
def test_an_optional_type_has_a_nullable_column(annotation: Any) -> None:
    plain, optional = column_of("field", annotation), column_of("field", annotation | None)
    assert optional.equals(plain.with_nullable(True))


@pytest.mark.parametrize(
    "annotation",
    [
        *(dict, dict[str, int], Any, object, int | str, set[int], tuple[int, ...], list, list[dict[str, int]]),
        *(time, timedelta, complex, Mixed, Literal["a", 1], Literal[True], Endless, Empty, Root),
        *(Decimal, Annotated[Decimal, Field(max_digits=40, decimal_places=2)], Annotated[Decimal, Field(max_digits=9)]),
    ],
)
def test_a_type_without_a_column_is_refused_with_the_fields_name_and_a_hint(annotation: Any) -> None:
    with pytest.raises(ContractError) as refused:
        column_of("outer.field", annotation)
    assert "outer.field" in refused.value.primary
    assert refused.value.hint


def test_the_path_leads_to_the_type_inside_a_list_of_models() -> None:
    class Inner(BaseModel):
        wrong: dict[str, int]

    with pytest.raises(ContractError, match=r"field\.element\.wrong"):
        column_of("field", list[Inner])
