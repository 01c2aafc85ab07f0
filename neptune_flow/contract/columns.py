"""Which column a field of a contract becomes: from Python's types to Arrow's.

    str → string              bool → bool                  Decimal(max_digits, decimal_places) → decimal128
    float → double            date → date32                enum or Literal of str / int → string / int64
    int → int64               datetime → timestamp(us, UTC)  model → struct
    bytes → binary            UUID → string                list[T] → list
    T | None → the same, nullable

Everything else has no column, and is refused with a word on what to use instead. Only types are looked at: what a
value must be beyond its type is Pydantic's business.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin
from uuid import UUID

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, NaiveDatetime
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from neptune_flow.errors import ContractError

INSTANT = pa.timestamp("us", "UTC")

DECIMAL_DIGITS_MAX = 38
"""Digits of a decimal that Iceberg, Parquet and Arrow's decimal128 can hold."""

_PLAIN: dict[Any, pa.DataType] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    date: pa.date32(),
    datetime: INSTANT,
    AwareDatetime: INSTANT,
    NaiveDatetime: INSTANT,
    UUID: pa.string(),
}

_INSTEAD = {
    dict: "name its keys in a nested model, or leave the field out: Neptune keeps it as JSON text in the column _extra",
    Any: "name one type, or leave the field out: Neptune keeps it as JSON text in the column _extra",
    set: "take list[...]",
    frozenset: "take list[...]",
    tuple: "take list[...], or a nested model with a name for each place",
    Decimal: "say how wide it is: Field(max_digits=…, decimal_places=…)",
}


def column_of(path: str, annotation: Any, metadata: tuple[Any, ...] | list[Any] = ()) -> pa.Field:
    """The column of a field: name (the last part of `path`), type, and whether it may be null.

    Raises:
        ContractError: no column can hold this type; the message names the field by its path.
    """
    return _column(path, annotation, tuple(metadata), ())


def unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """The bare type, the metadata around it, and whether None is allowed."""
    metadata: tuple[Any, ...] = ()
    optional = False
    while True:
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif get_origin(annotation) is Annotated:
            annotation, *around = get_args(annotation)
            metadata = (*metadata, *around)
        elif get_origin(annotation) in (Union, types.UnionType):
            rest = [a for a in get_args(annotation) if a is not type(None)]
            if len(rest) != 1:
                return annotation, metadata, optional
            annotation, optional = rest[0], True
        else:
            return annotation, metadata, optional


def _column(path: str, annotation: Any, metadata: tuple[Any, ...], inside: tuple[type, ...]) -> pa.Field:
    bare, around, optional = unwrap(annotation)
    return pa.field(path.rpartition(".")[2], _type(path, bare, metadata + around, inside), nullable=optional)


def _type(path: str, bare: Any, metadata: tuple[Any, ...], inside: tuple[type, ...]) -> pa.DataType:
    if bare in _PLAIN:
        return _PLAIN[bare]
    if bare is Decimal:
        return _decimal(path, metadata)
    if get_origin(bare) is list:
        return pa.list_(_column(f"{path}.element", get_args(bare)[0], (), inside))
    if get_origin(bare) is Literal:
        return _of_values(path, bare, get_args(bare))
    if isinstance(bare, type) and issubclass(bare, Enum):
        return _of_values(path, bare, [member.value for member in bare])
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return _struct(path, bare, inside)
    raise _no_column(path, bare)


def _decimal(path: str, metadata: tuple[Any, ...]) -> pa.DataType:
    digits = next(_values(metadata, "max_digits"), None)
    places = next(_values(metadata, "decimal_places"), None)
    if digits is None or places is None or not 0 <= places <= digits <= DECIMAL_DIGITS_MAX:
        raise _no_column(path, Decimal, detail=f"at most {DECIMAL_DIGITS_MAX} digits fit")
    return pa.decimal128(digits, places)


def _values(metadata: tuple[Any, ...], name: str) -> Iterator[int]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _values(tuple(item.metadata), name)
        elif getattr(item, name, None) is not None:
            yield getattr(item, name)


def _of_values(path: str, bare: Any, values: Any) -> pa.DataType:
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return pa.string()
    if kinds == {int}:
        return pa.int64()
    raise _no_column(path, bare, detail="its values are not all strings, nor all integers")


def _struct(path: str, model: type[BaseModel], inside: tuple[type, ...]) -> pa.DataType:
    if model in inside:
        raise _no_column(path, model, detail="a model that contains itself has no end")
    if model.__pydantic_root_model__ or not model.model_fields:
        raise _no_column(path, model, detail="a nested model needs fields with names")
    within = (*inside, model)
    return pa.struct(
        [_column(f"{path}.{n}", f.annotation, tuple(f.metadata), within) for n, f in model.model_fields.items()]
    )


def _no_column(path: str, bare: Any, detail: str = "") -> ContractError:
    kind = get_origin(bare) or bare
    is_union = kind in (Union, types.UnionType)
    hint = (
        "a column has one type: choose one, or `| None` for a value that may be null"
        if is_union
        else _INSTEAD.get(kind)
    )
    return ContractError(
        f"the contract's field {path!r} has a type that no column can hold: {_name(bare)}",
        detail=detail,
        hint=hint
        or "types with a column: str, float, int, bool, bytes, date, datetime, Decimal, UUID, enum, Literal, model, list",
    )


def _name(bare: Any) -> str:
    return bare.__qualname__ if isinstance(bare, type) and not get_args(bare) else str(bare)
