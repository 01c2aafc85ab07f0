"""The columns that the settings' contract makes, and how they lie in the table that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from neptune_flow.contract import Contract, load_contract
from neptune_flow.iceberg import Lake
from neptune_flow.iceberg.comparison import Comparison, compare, made_columns
from neptune_flow.settings import Settings
from neptune_flow.start import QUARANTINE_DAY
from neptune_flow.validation import Validator

EXTENDED = {"_kafka": "NEPTUNE_KAFKA_COLUMNS", "_extra": "NEPTUNE_EXTRA_COLUMN"}
"""Columns that no contract names, and the settings that make them."""


@dataclass(frozen=True, slots=True)
class Made:
    """What the settings' contract makes."""

    contract: Contract
    rows: pa.Schema
    rejects: pa.Schema


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table of rows."""

    name: str
    type: str
    """As Iceberg writes it."""
    is_nullable: bool
    constraints: tuple[str, ...]
    """What a value must be beyond its type, in Pydantic's words."""
    origin: str
    """`message`, `computed`, `event time`, or the setting that makes it."""


def make(settings: Settings) -> Made:
    """Load the contract and derive both tables' columns, as the flow does.

    Raises:
        ContractError: the contract cannot be loaded, or cannot become a table.
    """
    contract = load_contract(settings.contract)
    validator = Validator.of(settings, contract)
    return Made(contract, validator.rows_schema, validator.rejects_schema)


def columns(made: Made, table: str) -> list[Column]:
    """The columns of the rows, in the table's order.

    Args:
        table: the table's name, for an error's message.

    Raises:
        ContractError: a column has a type that no Iceberg type can hold.
    """
    types = made_columns(table, made.rows)
    return [
        Column(
            name,
            kind.removesuffix(" required"),
            made.rows.field(name).nullable,
            _constraints(made.contract, name),
            _origin(made.contract, name),
        )
        for name, kind in types.items()
    ]


def remarks(contract: Contract) -> list[str]:
    """What a contract allows or refuses that its author may not have meant."""
    config = contract.model.model_config
    told = []
    if config.get("extra") == "forbid":
        told.append("extra='forbid' refuses every message with a field that the contract does not name")
    open_ones = [
        field.name
        for field in contract.schema
        if pa.types.is_floating(field.type)
        and config.get("allow_inf_nan", True)
        and not _is_finite(_constraints(contract, field.name))
    ]
    if open_ones:
        told.append(
            f"NaN or Infinity may become values of {', '.join(open_ones)}: Field(allow_inf_nan=False) refuses them"
        )
    return told


def _is_finite(constraints: tuple[str, ...]) -> bool:
    """Whether the constraints refuse what is no finite number; a comparison refuses NaN."""
    least, most = (any(c.startswith(names) for c in constraints) for names in (("ge=", "gt="), ("le=", "lt=")))
    return "allow_inf_nan=False" in constraints or (least and most)


def compare_rows(settings: Settings, made: Made, lake: Lake) -> Comparison | None:
    """The table of rows against the contract; None where there is no such table.

    Raises:
        Unavailable, AccessDenied: the catalog does not answer, or refuses.
    """
    return _compare(settings, lake, settings.catalog.table, made.rows, made.contract.event_date)


def compare_rejects(settings: Settings, made: Made, lake: Lake) -> Comparison | None:
    """The quarantine against the columns of rejects, as `compare_rows`."""
    return _compare(settings, lake, settings.quarantine_table, made.rejects, QUARANTINE_DAY)


def _compare(settings: Settings, lake: Lake, name: str, schema: pa.Schema, day_column: str) -> Comparison | None:
    reader = lake.find_table(settings.catalog.namespace, name)
    table = reader.try_load() if reader else None
    return compare(reader.name, table, schema, day_column) if reader and table else None


def _origin(contract: Contract, name: str) -> str:
    if name in EXTENDED:
        return EXTENDED[name]
    if name == contract.event_date:
        return f"the UTC day of {contract.event_time}"
    if name in contract.computed:
        return "computed by the contract"
    return "the message, event time" if name == contract.event_time else "the message"


def _constraints(contract: Contract, name: str) -> tuple[str, ...]:
    info = contract.model.model_fields.get(name)
    if info is None:
        return ()
    told = [text for item in info.metadata for text in _told(item)]
    return (*told, *([] if info.is_required() else [f"default {info.get_default()!r}"]))


def _told(item: Any) -> Iterator[str]:
    """`Ge(ge=-90)` as `ge=-90`; what says nothing that a reader knows, such as Neptune's own marks, is left out."""
    found = re.fullmatch(r"[\w.]+\((.+=.+)\)", repr(item))
    if found and " at 0x" not in repr(item):
        yield found[1]
