"""A value of a table as text: for JSON, CSV and a table on the terminal. Pure."""

from __future__ import annotations

import base64
import json
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa


def text_of(value: object) -> str:
    """Text as it is, a struct or a list as JSON, times in ISO 8601."""
    plain = value if isinstance(value, dict | list) else _plain(value)
    return plain if isinstance(plain, str) else json_of(plain)


def json_of(value: object) -> str:
    """JSON; bytes as text (base 64 where they are not UTF-8), numbers that JSON does not have as text."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_plain(value), ensure_ascii=False)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type stand to the right in a table."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return base64.b64encode(value).decode()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else str(value)
        case float() if not math.isfinite(value):
            return str(value)
        case timedelta() | UUID():
            return str(value)
        case _:
            return value
