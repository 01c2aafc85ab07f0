"""Ways to spoil a message, each with the reason for which the delivery contract must refuse it.

The reasons are those of quarantine: Pydantic's error types, and Neptune's own `null_value` and `event_time_in_future`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

_IDS = ("device_id", "vehicle_id", "session_id", "order_id")
_LATITUDES = ("start_lat", "end_lat", "current_lat")
_POSITIONS = (*_LATITUDES, "start_lon", "end_lon", "current_lon")
_NESTING_DEPTH = 10_000
_FAR_FUTURE = "9998-12-31T23:59:59.000000Z"


class BadKind(NamedTuple):
    """One way to spoil a message."""

    name: str
    reason: str
    """Kind of the reason with which it is refused."""
    spoil: Callable[[bytes, Random], bytes | None]
    """From a good value to the bad one; None is a null value."""


def _not_utf8(value: bytes, rng: Random) -> bytes:
    at = value.index(b'"status": "') + len(b'"status": "') + rng.randrange(3)
    return value[:at] + bytes([rng.choice((0x80, 0xC0, 0xFE, 0xFF))]) + value[at:]


def _not_json(value: bytes, rng: Random) -> bytes:
    return rng.choice((b"<delivery/>", b"GET / HTTP/1.1", b"", value.replace(b'"', b"'"), b"status=en_route&lat=40.6"))


def _truncated(value: bytes, rng: Random) -> bytes:
    return value[: rng.randrange(1, len(value) - 1)]


def _nested(value: bytes, _: Random) -> bytes:
    return value[:-1] + b', "trace": ' + b"[" * _NESTING_DEPTH + b"]" * _NESTING_DEPTH + b"}"


def _with(change: Callable[[dict[str, Any], Random], None]) -> Callable[[bytes, Random], bytes]:
    def spoil(value: bytes, rng: Random) -> bytes:
        fields = json.loads(value)
        change(fields, rng)
        return json.dumps(fields).encode()

    return spoil


def _not_a_number(fields: dict[str, Any], rng: Random) -> None:
    fields[rng.choice(_POSITIONS)] = rng.choice((float("nan"), float("inf"), float("-inf")))


def _wrong_type(fields: dict[str, Any], rng: Random) -> None:
    name = rng.choice(_POSITIONS)
    fields[name] = rng.choice((str(fields[name]), True, [fields[name]], {"value": fields[name]}))


def _absent(fields: dict[str, Any], rng: Random) -> None:
    del fields[rng.choice(list(fields))]


def _null(fields: dict[str, Any], rng: Random) -> None:
    fields[rng.choice(_IDS)] = None


def _out_of_range(fields: dict[str, Any], rng: Random) -> None:
    fields[rng.choice(_LATITUDES)] = rng.uniform(90.001, 1000.0)


def _empty_id(fields: dict[str, Any], rng: Random) -> None:
    fields[rng.choice(_IDS)] = ""


def _bad_time(fields: dict[str, Any], rng: Random) -> None:
    fields["timestamp"] = rng.choice(("yesterday", "31/01/2025 10:00", "2025-13-01T00:00:00Z", "2025-01-31T25:00:00Z"))


def _future_time(fields: dict[str, Any], _: Random) -> None:
    fields["timestamp"] = _FAR_FUTURE


BAD_KINDS: tuple[BadKind, ...] = (
    BadKind("not UTF-8", "json_invalid", _not_utf8),
    BadKind("not JSON", "json_invalid", _not_json),
    BadKind("truncated", "json_invalid", _truncated),
    BadKind("nested 10,000 deep", "json_invalid", _nested),
    BadKind("not a number", "finite_number", _with(_not_a_number)),
    BadKind("number of another type", "float_type", _with(_wrong_type)),
    BadKind("field absent", "missing", _with(_absent)),
    BadKind("id null", "string_type", _with(_null)),
    BadKind("latitude out of range", "less_than_equal", _with(_out_of_range)),
    BadKind("id empty", "string_too_short", _with(_empty_id)),
    BadKind("time in another form", "datetime_parsing", _with(_bad_time)),
    BadKind("time in the future", "event_time_in_future", _with(_future_time)),
    BadKind("null value", "null_value", lambda _value, _rng: None),
)
