"""What a field's values have to obey, where the fast way can judge them by columns: read from the model's core schema.

The core schema is the program that Pydantic runs, so it is the whole truth about a contract: a validator, a pattern,
an alias, a default or a setting of the model shows there, however it was written. `flat_rules` knows the few forms
that it can judge, key by key; a schema with anything else in it has no rules, and the contract is judged by Pydantic
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, nextafter
from typing import Any

from neptune_flow.contract import Contract
from neptune_flow.contract.event_time import FromJson


@dataclass(frozen=True, slots=True)
class Text:
    """A string; lengths in code points."""

    length_min: int = 0
    length_max: int | None = None


@dataclass(frozen=True, slots=True)
class Instant:
    """A string that tells a time; without an offset it means UTC."""

    is_event_time: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `least` to `most`, both included; an integer one takes no fraction."""

    integer: bool
    least: float = -inf
    most: float = inf


Rule = Text | Instant | Number

_MODEL = {"type", "cls", "schema", "config", "metadata", "ref", "custom_init", "root_model", "frozen", "extra_behavior"}
_MODEL_FIELDS = {"type", "fields", "model_name", "computed_fields", "extra_behavior"}
_FIELD = {"type", "schema", "metadata", "validation_alias", "serialization_alias", "frozen"}
_CONFIG = {"title", "strict", "frozen", "extra_fields_behavior"}
_BOUNDS = ("ge", "gt", "le", "lt")


def flat_rules(contract: Contract) -> dict[str, tuple[str, Rule]] | None:
    """Of each field, in order: its key in a message and its rule; None where the fast way cannot judge this contract."""
    schema: Any = contract.model.__pydantic_core_schema__
    if contract.computed or not _knows(schema, "model", _MODEL):
        return None
    fields = schema["schema"]
    if schema.get("custom_init") or schema.get("root_model") or not _knows(fields, "model-fields", _MODEL_FIELDS):
        return None
    if schema.get("config", {}).keys() - _CONFIG:
        return None
    rules = {name: _field(name, field) for name, field in fields["fields"].items()}
    return {name: found for name, found in rules.items() if found is not None} if None not in rules.values() else None


def _knows(schema: Mapping[str, Any], kind: str, keys: set[str]) -> bool:
    return schema["type"] == kind and not schema.keys() - keys


def _field(name: str, field: Mapping[str, Any]) -> tuple[str, Rule] | None:
    if not _knows(field, "model-field", _FIELD):
        return None
    key = field.get("validation_alias", name)
    rule = _rule(field["schema"])
    return (key, rule) if rule is not None and isinstance(key, str) else None


def _rule(schema: Mapping[str, Any]) -> Rule | None:
    keys = schema.keys() - {"type", "strict", "metadata"}
    match schema["type"]:
        case "str" if not keys - {"min_length", "max_length"}:
            return Text(schema.get("min_length", 0), schema.get("max_length"))
        case "float" if not keys - {*_BOUNDS, "allow_inf_nan"}:
            return Number(False, *_interval(schema, nextafter))
        case "int" if not keys - set(_BOUNDS):
            return Number(True, *_interval(schema, lambda limit, side: limit + (1 if side > 0 else -1)))
        case "datetime" if not keys - {"microseconds_precision"}:
            return Instant()
        case "json-or-python" if _is_event_time(schema["json_schema"]):
            return Instant(is_event_time=True)
        case _:
            return None


def _interval(schema: Mapping[str, Any], after: Callable[[float, float], float]) -> tuple[float, float]:
    """The bounds as a closed interval; `after` gives the next value from a limit towards plus or minus infinity."""
    least = max(schema.get("ge", -inf), after(schema["gt"], inf) if "gt" in schema else -inf)
    most = min(schema.get("le", inf), after(schema["lt"], -inf) if "lt" in schema else inf)
    return least, most


def _is_event_time(schema: Mapping[str, Any]) -> bool:
    reader = schema.get("function", {}).get("function")
    return schema["type"] == "function-plain" and isinstance(reader, FromJson) and reader.is_unconstrained
