"""The contract's columns and a table's, side by side. Pure: schemas in, lines out; what hinders the landing is `columns.bind`'s word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType

from neptune_flow.errors import TableMismatch
from neptune_flow.iceberg.columns import bind, iceberg_schema


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """One column by its name; of a side that has none, None."""

    name: str
    ours: str | None
    """Type by the contract, as Iceberg writes it, with `required` where it may not be null."""
    theirs: str | None
    """Type in the table."""

    @property
    def verdict(self) -> str:
        """In a word or two: `same`, `missing in the table`, `only in the table`, `differs`."""
        if self.theirs is None:
            return "missing in the table"
        if self.ours is None:
            return "only in the table"
        return "same" if self.ours == self.theirs else "differs"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table against the contract."""

    table: str
    columns: tuple[ColumnPair, ...]
    refusal: TableMismatch | None
    """Why Neptune would not land in this table; None where it would."""


def compare(name: str, table: Table, schema: pa.Schema, day_column: str) -> Comparison:
    """Compare the columns that the contract makes with those of a table.

    Args:
        name: the table's full name.

    Raises:
        ContractError: a column has a type that no Iceberg type can hold.
    """
    ours, theirs = _told(iceberg_schema(name, schema).fields), _told(table.schema().fields)
    names = [*ours, *(n for n in theirs if n not in ours)]
    pairs = tuple(ColumnPair(n, ours.get(n), theirs.get(n)) for n in names)
    try:
        bind(name, table.metadata, schema, day_column)
    except TableMismatch as refusal:
        return Comparison(name, pairs, refusal)
    return Comparison(name, pairs, None)


def made_columns(name: str, schema: pa.Schema) -> dict[str, str]:
    """Name and type of each column that the contract makes, as Iceberg writes types.

    Raises:
        ContractError: a column has a type that no Iceberg type can hold.
    """
    return _told(iceberg_schema(name, schema).fields)


def _told(fields: tuple[NestedField, ...]) -> dict[str, str]:
    return {f.name: _field(f) for f in fields}


def _field(field: NestedField) -> str:
    return _type(field.field_type) + (" required" if field.required else "")


def _type(kind: IcebergType) -> str:
    """As Iceberg's own text, without field ids: those are each table's own."""
    if isinstance(kind, StructType):
        return f"struct<{', '.join(_members(kind))}>"
    if isinstance(kind, ListType):
        return f"list<{_field(kind.element_field)}>"
    if isinstance(kind, MapType):
        return f"map<{_type(kind.key_type)}, {_field(kind.value_field)}>"
    return str(kind)


def _members(kind: StructType) -> Iterator[str]:
    yield from (f"{f.name}: {_field(f)}" for f in kind.fields)
