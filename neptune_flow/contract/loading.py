"""From the name of a model to a contract that a table can be made of, or an error that says what is wrong with the
model.

Columns, in this order: the model's fields as the model lists them, its computed fields, and `event_date` last, the
UTC day of the event time. `event_date` is Neptune's: a model may declare it as a computed field, for its own readers,
but has to mean the same; a message does not carry it. It is derived from the event time whether the model declares it
or not.

The fingerprint tells contracts apart: it changes with any field, type, constraint, validator's name or column, and
with nothing else (titles and descriptions do not count). It does not see the body of a validator function.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, get_args

import pyarrow as pa
from pydantic import AliasChoices, AliasPath, BaseModel
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from neptune_flow.contract.columns import INSTANT, column_of, unwrap
from neptune_flow.contract.event_time import EventTime
from neptune_flow.errors import ContractError

EVENT_DATE = "event_date"
"""The last column of every contract: the UTC day of the event time, by which the table is partitioned."""

FINGERPRINT_CHARS = 16
"""64 bits of a SHA-256: a table sees a handful of contracts, not billions."""

DETAIL_CHARS_MAX = 300
"""How much of a foreign exception's text an error repeats."""

_PROBES = tuple(
    datetime.combine(day, time_of_day, UTC)
    for day in (date(1, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(9999, 12, 31))
    for time_of_day in (time.min, time(11, 59, 59), time.max)
)
"""Instants at the edges of a UTC day: a day of another zone differs in one of them."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A model and what follows from it. Equal models have equal fingerprints."""

    model: type[BaseModel]
    name: str
    """`module:Model`, the module without its package."""
    fingerprint: str
    schema: pa.Schema
    """The contract's columns in the table's order, `event_date` the last."""
    event_time: str
    """The field that the model marks as its event time."""
    computed: tuple[str, ...] = ()
    """The model's computed fields that are columns, without `event_date`."""
    event_date: str = EVENT_DATE


def load_contract(reference: str) -> Contract:
    """The contract that `package.module:Model` names.

    Raises:
        ContractError: it cannot be imported, is no Pydantic model, or cannot become a table.
    """
    return contract_of(_import(reference))


def contract_of(model: type[BaseModel]) -> Contract:
    """The contract of a model.

    Raises:
        ContractError: the model has not exactly one event time, or a field that no column can hold.
    """
    if model.__pydantic_root_model__ or not model.model_fields:
        raise ContractError(
            f"the contract {model.__qualname__} has no fields", hint="take a BaseModel with a field for each column"
        )
    for name, info in model.model_fields.items():
        _check_alias(name, info)
    event_time = _event_time(model)
    computed = _computed(model, event_time)
    schema = pa.schema(
        [
            *(column_of(name, info.annotation, info.metadata) for name, info in model.model_fields.items()),
            *(column_of(name, model.model_computed_fields[name].return_type) for name in computed),
            pa.field(EVENT_DATE, pa.date32(), nullable=False),
        ]
    )
    return Contract(
        model=model,
        name=f"{model.__module__.rpartition('.')[2]}:{model.__qualname__}",
        fingerprint=_fingerprint(model, event_time, schema),
        schema=schema,
        event_time=event_time,
        computed=computed,
    )


def _import(reference: str) -> type[BaseModel]:
    module_name, colon, model_name = reference.partition(":")
    if not (module_name and colon and model_name):
        raise ContractError(f"{reference!r} does not name a contract", hint="write it as package.module:Model")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # the module is the user's: whatever it raises has to become a sentence
        raise ContractError(
            f"the contract's module {module_name!r} cannot be imported",
            detail=f"{type(error).__name__}: {error}"[:DETAIL_CHARS_MAX],
            hint="it has to be on PYTHONPATH or in the working directory",
        ) from error
    for part in model_name.split("."):
        if not hasattr(found, part):
            raise ContractError(
                f"the module {module_name!r} has no {model_name!r}",
                hint="NEPTUNE_CONTRACT is package.module:Model; check the spelling of the model",
            )
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise ContractError(
            f"{reference!r} is no Pydantic model", hint="name a class that derives from pydantic.BaseModel"
        )
    if not found.__pydantic_complete__:
        _complete(found, reference)
    return found


def _complete(model: type[BaseModel], reference: str) -> None:
    try:
        model.model_rebuild()
    except (PydanticUserError, NameError) as error:
        raise ContractError(
            f"the contract {reference!r} is not complete", detail=str(error)[:DETAIL_CHARS_MAX]
        ) from error


def _check_alias(name: str, info: FieldInfo) -> None:
    if isinstance(info.validation_alias, AliasChoices | AliasPath):
        raise ContractError(
            f"the contract's field {name!r} has more than one name in a message",
            hint="give it one alias: what comes under another name is then kept in the column _extra",
        )


def _event_time(model: type[BaseModel]) -> str:
    marked = [name for name, info in model.model_fields.items() if _is_marked(info.annotation, tuple(info.metadata))]
    if len(marked) != 1:
        found = ", ".join(marked) or "none"
        raise ContractError(
            f"the contract {model.__qualname__} needs exactly one event time, it has {len(marked)}",
            detail=f"fields marked with EventTime(): {found}",
            hint="mark the field that tells when the event happened: Annotated[datetime, EventTime()]",
        )
    info = model.model_fields[marked[0]]
    bare, _, optional = unwrap(info.annotation)
    if optional or not info.is_required():
        raise ContractError(
            f"the event time {marked[0]!r} may be absent", hint="make it required: an event without a time has no day"
        )
    if column_of(marked[0], bare).type != INSTANT:
        raise ContractError(f"the event time {marked[0]!r} is no datetime", hint="Annotated[datetime, EventTime()]")
    return marked[0]


def _is_marked(annotation: Any, metadata: tuple[Any, ...]) -> bool:
    if any(item is EventTime or isinstance(item, EventTime) for item in metadata):
        return True
    bare, around, _ = unwrap(annotation)
    return bool(around and _is_marked(bare, around)) or any(_is_marked(part, ()) for part in get_args(bare))


def _computed(model: type[BaseModel], event_time: str) -> tuple[str, ...]:
    if EVENT_DATE in model.model_fields:
        raise ContractError(
            f"the contract's field {EVENT_DATE!r} has the name of a column that Neptune derives",
            hint=f"rename it, with alias={EVENT_DATE!r} if messages carry it under this name",
        )
    if EVENT_DATE in model.model_computed_fields:
        _check_event_date(model, event_time)
    return tuple(name for name in model.model_computed_fields if name != EVENT_DATE)


def _check_event_date(model: type[BaseModel], event_time: str) -> None:
    hint = "it is the UTC day of the event time and of that alone; leave it out, and Neptune derives it"
    declared = column_of(EVENT_DATE, model.model_computed_fields[EVENT_DATE].return_type)
    if declared.type != pa.date32() or declared.nullable:
        raise ContractError(f"the contract's {EVENT_DATE!r} is no date", hint=hint)
    for probe in _PROBES:
        found = _day_by_model(model, event_time, probe)
        if found != probe.date():
            raise ContractError(
                f"the contract's {EVENT_DATE!r} is not the UTC day", detail=f"{probe}: {found}", hint=hint
            )


def _day_by_model(model: type[BaseModel], event_time: str, probe: datetime) -> date | str:
    try:
        day = getattr(model.model_construct(None, **{event_time: probe}), EVENT_DATE)
    except Exception as error:  # noqa: BLE001 (the property is the user's: whatever it raises has to become a sentence)
        return f"{type(error).__name__}: {error}"[:DETAIL_CHARS_MAX]
    return day if isinstance(day, date) else type(day).__name__


def _fingerprint(model: type[BaseModel], event_time: str, schema: pa.Schema) -> str:
    decorators = model.__pydantic_decorators__
    identity = {
        "model": _without_prose(_json_schema(model)),
        "config": {
            k: repr(v) for k, v in sorted(model.model_config.items()) if isinstance(v, bool | int | str | type(None))
        },
        "validators": sorted([*decorators.validators, *decorators.field_validators, *decorators.model_validators]),
        "metadata": {
            n: [repr(m) for m in f.metadata if " at 0x" not in repr(m)] for n, f in model.model_fields.items()
        },
        "columns": [str(column) for column in schema],
        "event_time": event_time,
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_CHARS]


def _json_schema(model: type[BaseModel]) -> Any:
    try:
        return model.model_json_schema()
    except PydanticUserError:
        return None  # a custom type without a JSON schema: the columns and the metadata still tell contracts apart


def _without_prose(schema: Any, *, names: bool = False) -> Any:
    """A JSON schema without titles, descriptions and examples; `names` says that the keys are names of fields."""
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    prose = () if names else ("title", "description", "examples")
    return {
        k: _without_prose(v, names=not names and k in ("properties", "$defs"))
        for k, v in schema.items()
        if k not in prose
    }
