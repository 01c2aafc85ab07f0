"""The marker by which a contract names its event time, and what Neptune adds to Pydantic's reading of it.

    timestamp: Annotated[datetime, EventTime()]

Pydantic reads the text, and its refusals stand. Two things come on top, since an event time decides in which window
and on which day a row lands:

- **Form.** Only ISO 8601 / RFC 3339 text: `YYYY-MM-DD`, then `T`, `t` or a space, then `HH:MM` or `HH:MM:SS`, a
  fraction of the second after `.` or `,`, and at the end nothing, `Z`, `z`, `±HH:MM` or `±HHMM`. Pydantic alone would
  also take `"1704067200"` for a time, and guess its unit. A JSON number is refused by Pydantic in strict mode.
- **Instant.** The value is an instant in UTC: a text without an offset means UTC, one with an offset is converted. An
  instant that leaves the years 1 to 9999 by that is refused.

As Pydantic has it: the year 10000, the hour 24 and the second 60 are refused; digits of the fraction beyond the sixth
are cut off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, SchemaValidator, core_schema

KIND_FORM = "event_time_form"
"""Kind of the reason when Pydantic could read the text, but it is not in ISO 8601 form."""
KIND_RANGE = "event_time_out_of_range"
"""Kind of the reason when the instant, in UTC, lies outside the years 1 to 9999."""

_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?([Zz]|[+-]\d\d:?\d\d)?",
    re.ASCII,
)


class EventTime:
    """Marks the one field of a contract that tells when the event happened; the field's type is `datetime`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        moment = handler(source)
        if moment["type"] != "datetime":
            return moment  # no contract: loading it says so
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_plain_validator_function(FromJson(moment)),
            python_schema=core_schema.no_info_after_validator_function(to_utc, moment),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema["python_schema"] if schema["type"] == "json-or-python" else schema)

    def __repr__(self) -> str:
        return "EventTime()"


class FromJson:
    """Reads an event time from a JSON value, as Pydantic's `schema` of a datetime does, in the form that the module's
    head tells.

    A class, so that the validator's fast way can see in the model's schema what reads this field.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.is_unconstrained = not schema.keys() - {"type", "microseconds_precision", "strict", "metadata"}
        plain: Any = dict(schema)
        self._parse = SchemaValidator(plain).validate_json

    def __call__(self, value: Any) -> datetime:
        if not isinstance(value, str):
            raise PydanticKnownError("datetime_type")
        form = _ISO_8601.fullmatch(value)
        if form is None:
            self._read(json.dumps(value))
            raise PydanticCustomError(KIND_FORM, "Input should be a date and time in ISO 8601 form")
        offset = form[1]
        if self.is_unconstrained and (offset is None or offset in "Zz"):
            return self._read(f'"{value}"' if offset else f'"{value}Z"')
        return to_utc(self._read(f'"{value}"'))

    def _read(self, text: str) -> datetime:
        """As Pydantic reads a JSON string: in strict mode it would refuse the same text from Python."""
        try:
            moment: datetime = self._parse(text, strict=True)
        except ValidationError as refused:
            first = refused.errors(include_url=False, include_input=False)[0]
            raise PydanticKnownError(first["type"], first.get("ctx")) from None  # type: ignore[arg-type]
        return moment


def to_utc(moment: datetime) -> datetime:
    """The same instant in UTC; a datetime without a zone means UTC."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError(KIND_RANGE, "Input should lie in the years 1 to 9999, in UTC") from None
