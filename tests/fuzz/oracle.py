"""What must become of a message: plain Pydantic's word, and on top of it the rules that README documents. And the same said of what landed.

Both sides are put into one canonical form, so that they can be compared as texts: a float with all its bits, an instant in UTC, `_extra` as a document whose numbers
keep their digits. Of a reason, field and kind are compared; its words are not promised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from neptune_flow.contract import load_contract
from tests.fuzz.messages import FuzzedMessage
from tests.fuzz.subjects import Group, Kind, Many, Subject

VALUE_BYTES_MAX = 256 << 10
"""The default of NEPTUNE_VALUE_BYTES_MAX."""
REASONS_MAX = 20
FIELD_CHARS_MAX = 200
FUTURE_SKEW = timedelta(seconds=300)
_CENT = Decimal("0.01")
_EPOCH = datetime(1970, 1, 1)
_TIME_MS_MAX = 253_402_300_799_999

Reasons = list[tuple[str | None, str]]
Canonical = tuple[Any, ...]
"""A row or a reject, to be compared by its `repr`."""


class Verdict:
    """What must become of the messages of one subject."""

    def __init__(self, subject: Subject, topic: str, now: datetime) -> None:
        self._subject = subject
        self._topic = topic
        self._model = load_contract(subject.contract).model
        self._names = [*self._model.model_fields, *self._model.model_computed_fields]
        self._latest = (now + FUTURE_SKEW).astimezone(UTC).replace(tzinfo=None)

    def expected(self, message: FuzzedMessage, partition: int, offset: int) -> Canonical:
        """The row or the reject, in canonical form."""
        place = (self._topic, partition, offset, _kafka_time(message.timestamp_ms), message.key)
        judged = self.judge(message.value)
        if isinstance(judged, list):
            return ("reject", place, message.value, list(message.headers), judged)
        return ("row", place, *judged)

    def judge(self, value: bytes | None) -> tuple[dict[str, Any], Any] | Reasons:
        """The columns and `_extra`, or the reasons."""
        if value is None:
            return [(None, "null_value")]
        if len(value) > VALUE_BYTES_MAX:
            return [(None, "value_too_large")]
        try:
            row = self._model.model_validate_json(value, strict=True)
        except ValidationError as refused:
            return _reasons(refused)
        columns = {name: getattr(row, name) for name in self._names}
        misfits: Reasons = [(name, "not_storable") for name, found in columns.items() if not _is_storable(found)]
        if misfits:
            return misfits
        columns = {name: canonical(found) for name, found in columns.items()}
        if columns[self._subject.event_time] > self._latest:
            return [(self._subject.event_time, "event_time_in_future")]
        return columns, _unknown(_document(value), self._subject.document)

    def of_row(self, row: Mapping[str, Any]) -> Canonical:
        """A row of the table, in the same form."""
        kafka = row["_kafka"]
        place = (kafka["topic"], kafka["partition"], kafka["offset"], canonical(kafka["timestamp"]), kafka["key"])
        columns = {name: canonical(row[name]) for name in self._names}
        return ("row", place, columns, _document(row["_extra"]) if row["_extra"] is not None else None)

    def of_reject(self, reject: Mapping[str, Any]) -> Canonical:
        """A row of the quarantine table, in the same form."""
        place = (*(reject[name] for name in ("topic", "partition", "offset")), canonical(reject["timestamp"]))
        headers = [(header["name"], header["value"]) for header in reject["headers"] or ()]
        reasons = [(reason["field"], reason["kind"]) for reason in reject["reasons"]]
        return ("reject", (*place, reject["key"]), reject["value"], headers, reasons)


def offset_of(one: Canonical) -> int:
    """The offset of a row or reject in canonical form."""
    offset: int = one[1][2]
    return offset


def canonical(value: Any) -> Any:
    """A value of the model or of a table, so that equal ones have equal texts and others have not (-0.0 is not 0.0)."""
    match value:
        case BaseModel():
            return {name: canonical(getattr(value, name)) for name in type(value).model_fields}
        case dict():
            return {name: canonical(inner) for name, inner in value.items()}
        case list():
            return [canonical(inner) for inner in value]
        case Enum():
            return value.value
        case UUID():
            return str(value)
        case Decimal():
            return str(value.quantize(_CENT) + 0)
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return value


def _is_storable(value: Any) -> bool:
    match value:
        case BaseModel():
            return all(_is_storable(getattr(value, name)) for name in type(value).model_fields)
        case list():
            return all(map(_is_storable, value))
        case bool():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case datetime() if value.tzinfo is not None:
            return _is_in_years(value)
    return True


def _is_in_years(moment: datetime) -> bool:
    """Whether it lies in the years 1 to 9999 in UTC too."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return False
    return True


def _reasons(refused: ValidationError) -> Reasons:
    errors = refused.errors(include_url=False, include_context=False, include_input=False)
    reasons: Reasons = [(_field(error["loc"]), error["type"]) for error in errors]
    return reasons if len(reasons) <= REASONS_MAX else [*reasons[: REASONS_MAX - 1], (None, "more_reasons")]


def _field(path: Sequence[int | str]) -> str | None:
    text = ".".join(map(str, path))
    return (text if len(text) <= FIELD_CHARS_MAX else text[: FIELD_CHARS_MAX - 1] + "…") if path else None


def _kafka_time(time_ms: int) -> datetime | None:
    return _EPOCH + timedelta(milliseconds=time_ms) if time_ms <= _TIME_MS_MAX else None


def _document(text: bytes | str) -> Any:
    """A JSON document whose numbers are their texts, told apart from strings."""

    def token(text: str) -> tuple[str, str]:
        return ("number", text)

    return json.loads(text, parse_float=token, parse_int=token, parse_constant=token)


def _unknown(found: Any, known: Kind) -> Any:
    """What a document holds and its contract does not name; None where that is nothing."""
    if isinstance(known, Group) and isinstance(found, dict):
        rest = {k: _unknown(v, known.members[k]) if k in known.members else v for k, v in found.items()}
        return {k: v for k, v in rest.items() if k not in known.members or v is not None} or None
    if isinstance(known, Many) and isinstance(found, list):
        elements = [_unknown(element, known.element) for element in found]
        return elements if any(element is not None for element in elements) else None
    return None
