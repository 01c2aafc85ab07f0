"""How the columns of a contract lie in a table: from Arrow to Iceberg, and onto a table that is already there.

Pure: schemas in, schemas or a mismatch out. What a table must be to be taken:

- *Columns* are found by name. Each column of the contract is there with exactly its type, nested ones too; one that
  may be null is not required in the table. A further column is fine if it is optional (its value is null in Neptune's
  rows).
- *Partitioning* is identity of the day column, and nothing else: Neptune's data files each hold one day, and it
  cannot know the value of any other partition field.
- *Format version* 2: version 1 has no sequence numbers, by which history is told, and PyIceberg does not write
  version 3.

Neptune alters no table. It says which column is in the way, what it is, what it should be, and what can be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import ValidationError
from pyiceberg.io.pyarrow import UnsupportedPyArrowTypeException, schema_to_pyarrow
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BinaryType,
    DateType,
    IcebergType,
    ListType,
    MapType,
    NestedField,
    PrimitiveType,
    StringType,
    StructType,
)

from neptune_flow.errors import ContractError, TableMismatch

FORMAT_VERSION: Final = 2
_FIELD_ID = b"PARQUET:field_id"
_PARTITION_FIELD_ID = 1000


@dataclass(frozen=True, slots=True)
class Binding:
    """The contract's columns as a table has them."""

    schema: Schema
    """Only the contract's columns, with the table's field ids."""
    arrow: pa.Schema
    """The same for a data file: the contract's Arrow types, field ids in the metadata."""
    day_column: str


def iceberg_schema(table: str, schema: pa.Schema) -> Schema:
    """The Iceberg schema of these columns, with fresh field ids.

    Raises:
        ContractError: a column has a type that no Iceberg type can hold.
    """
    try:
        return assign_fresh_schema_ids(Catalog._convert_schema_if_needed(schema, FORMAT_VERSION))
    except (UnsupportedPyArrowTypeException, TypeError, ValueError, ValidationError) as error:
        raise ContractError(
            f"the columns of table {table} cannot be stored in Iceberg",
            detail=str(error),
            hint="give the field of the contract a type that Iceberg has",
        ) from error


def day_partition(schema: Schema, day_column: str) -> PartitionSpec:
    """The partition spec of a new table."""
    source = schema.find_field(day_column)
    if not isinstance(source.field_type, DateType):
        raise ContractError(f"the day column {day_column} is {source.field_type}, not a date")
    return PartitionSpec(
        PartitionField(
            source_id=source.field_id, field_id=_PARTITION_FIELD_ID, transform=IdentityTransform(), name=day_column
        )
    )


def bind(table: str, metadata: TableMetadata, schema: pa.Schema, day_column: str) -> Binding:
    """Find the contract's columns in a table.

    Args:
        table: the table's full name, for the message.

    Raises:
        TableMismatch: the table cannot take them; all reasons are told.
    """
    problems: list[str] = []
    if metadata.format_version != FORMAT_VERSION:
        problems.append(f"it has format version {metadata.format_version}, Neptune needs {FORMAT_VERSION}")
    fields = _bind_fields("", iceberg_schema(table, schema).fields, metadata.schema().fields, problems)
    problems += _partition_problems(metadata, day_column)
    if problems:
        raise TableMismatch(
            f"table {table} cannot take these rows: {problems[0]}",
            detail="; ".join(problems[1:]),
            hint="change the table (ALTER TABLE), or let Neptune create another: name one that does not exist",
        )
    return Binding(
        schema=Schema(*fields),
        arrow=pa.schema([_file_field(schema.field(f.name), f) for f in fields]),
        day_column=day_column,
    )


def version(metadata: TableMetadata) -> tuple[int, int, int]:
    """What a binding depends on; as long as this is the same, the binding holds."""
    return metadata.format_version, metadata.current_schema_id, metadata.default_spec_id


def _partition_problems(metadata: TableMetadata, day_column: str) -> list[str]:
    names = {field.field_id: field.name for field in metadata.schema().fields}
    found = [f"{field.transform}({names.get(field.source_id, '?')})" for field in metadata.spec().fields]
    if found == [f"identity({day_column})"]:
        return []
    return [
        f"it is {'partitioned by ' + ', '.join(found) if found else 'not partitioned'}, "
        f"Neptune needs identity({day_column}) alone"
    ]


def _bind_fields(
    prefix: str, ours: Sequence[NestedField], theirs: Sequence[NestedField], problems: list[str]
) -> list[NestedField]:
    there = {field.name: field for field in theirs}
    bound = []
    for our in ours:
        path = prefix + our.name
        their = there.pop(our.name, None)
        if their is None:
            problems.append(f"it has no column {path} ({our.field_type})")
            continue
        if their.required and not our.required:
            problems.append(f"column {path} is required there, the contract lets it be null")
        kind = _bind_type(path, our.field_type, their.field_type, problems)
        bound.append(NestedField(their.field_id, their.name, kind, their.required, their.doc))
    problems += [
        f"column {prefix}{f.name} is required there, the contract has none" for f in there.values() if f.required
    ]
    return bound


def _bind_type(path: str, our: IcebergType, their: IcebergType, problems: list[str]) -> IcebergType:
    if isinstance(our, StructType) and isinstance(their, StructType):
        return StructType(*_bind_fields(f"{path}.", our.fields, their.fields, problems))
    if isinstance(our, ListType) and isinstance(their, ListType):
        if their.element_required and not our.element_required:
            problems.append(f"the elements of column {path} are required there, the contract lets them be null")
        element = _bind_type(f"{path}.element", our.element_type, their.element_type, problems)
        return ListType(their.element_id, element, their.element_required)
    if isinstance(our, MapType) and isinstance(their, MapType):
        if their.value_required and not our.value_required:
            problems.append(f"the values of column {path} are required there, the contract lets them be null")
        key = _bind_type(f"{path}.key", our.key_type, their.key_type, problems)
        value = _bind_type(f"{path}.value", our.value_type, their.value_type, problems)
        return MapType(their.key_id, key, their.value_id, value, their.value_required)
    if our != their:
        problems.append(f"column {path} is {_kind(their)} there, the contract needs {_kind(our)}")
    return their


def _kind(kind: IcebergType) -> str:
    if isinstance(kind, StructType):
        return "struct"
    return "list" if isinstance(kind, ListType) else "map" if isinstance(kind, MapType) else str(kind)


def _file_field(arrow: pa.Field, field: NestedField) -> pa.Field:
    return pa.field(
        arrow.name,
        _file_type(arrow.type, field.field_type),
        nullable=not field.required,
        metadata={_FIELD_ID: str(field.field_id).encode()},
    )


def _file_type(arrow: pa.DataType, kind: IcebergType) -> pa.DataType:
    """The Arrow type that a data file is written with; strings stay small or large, as the contract has them."""
    if isinstance(kind, StructType):
        return pa.struct([_file_field(arrow.field(f.name), f) for f in kind.fields])
    if isinstance(kind, ListType):
        return pa.list_(_file_field(arrow.value_field, kind.element_field).with_name("element"))
    if isinstance(kind, MapType):
        key, item = _file_field(arrow.key_field, kind.key_field), _file_field(arrow.item_field, kind.value_field)
        return pa.map_(key.with_name("key"), item.with_name("value"))
    if isinstance(kind, PrimitiveType) and not isinstance(kind, StringType | BinaryType):
        return schema_to_pyarrow(kind)
    return arrow
