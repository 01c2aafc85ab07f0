"""The verdict itself: Pydantic, message by message, in strict mode.

Every message ends here as a row or with reasons, whatever its bytes are. What Pydantic's parser does with odd input
(measured, kept by tests): bytes that are not UTF-8, lone surrogates, a byte order mark, trailing text, raw control
characters and nesting deeper than 200 are `json_invalid`; of equal keys the last one counts; `NaN`, `Infinity` and
`1e999` are numbers, which a finite field refuses; an integer of more than 4300 digits is `json_invalid`.

Reasons are bounded, so that a refused message of many MB does not come back as reasons of many MB. Their kinds are
Pydantic's error types, and a few of Neptune's own (`KIND_…`). A validator of the contract that raises what it should
not is a reason too: one message must not stop a topic for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Any, NamedTuple, get_args, get_origin
from uuid import UUID

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, NaiveDatetime, ValidationError

from neptune_flow.contract import Contract
from neptune_flow.contract.columns import unwrap

KIND_CONTRACT_RAISED = "contract_raised"
"""A validator or computed field of the contract raised something else than a refusal."""
KIND_NOT_STORABLE = "not_storable"
"""The contract accepts a value that its column cannot hold, such as an integer of more than 64 bits."""
KIND_TOO_LARGE = "value_too_large"
"""The value is longer than NEPTUNE_VALUE_BYTES_MAX and was not parsed."""
VALUE_BYTES_MAX = 1 << 18
"""Pydantic makes an object of every element, and again for each field that it misses: JSON of many small elements takes up to 900 times
its size."""
KIND_MORE = "more_reasons"
"""Stands in the last place when a message has more reasons than are listed."""

REASONS_MAX = 20
"""Reasons listed per message: enough to see what a producer does wrong."""
ERRORS_READ_MAX = 1000
"""Errors that are worked out to list the first REASONS_MAX of them; above it, a list of a million wrong elements would cost gigabytes."""
MESSAGE_CHARS_MAX = 300
"""A reason's text, which may repeat a part of the input."""
FIELD_CHARS_MAX = 200
"""A reason's field: a path that may hold keys of the input."""


_INSTANTS = (datetime, AwareDatetime, NaiveDatetime)


class Reason(NamedTuple):
    """Why a message was refused; `field` is the path to the value, None where it is the whole message."""

    field: str | None
    kind: str
    message: str


class OneByOne:
    """Judges single messages, and makes columns of the accepted ones."""

    def __init__(self, contract: Contract, value_bytes_max: int = VALUE_BYTES_MAX) -> None:
        model = contract.model
        self._value_bytes_max = value_bytes_max
        self._validate = model.__pydantic_validator__.validate_json
        fields = {name: info.annotation for name, info in model.model_fields.items()}
        computed = {name: model.model_computed_fields[name].return_type for name in contract.computed}
        names = [*fields, *computed]
        getter = attrgetter(*names)
        self._getter: Callable[[BaseModel], tuple[Any, ...]] = (
            getter if len(names) > 1 else lambda model: (getter(model),)
        )
        self._types = [contract.schema.field(name).type for name in names]
        self._plain = [_plain_of(annotation) for annotation in (*fields.values(), *computed.values())]
        self._plain[names.index(contract.event_time)] = None  # it is in UTC already

    def judge(self, value: bytes) -> tuple[Any, ...] | list[Reason]:
        """The values of a row, in the order of the columns, or the reasons of a reject."""
        if len(value) > self._value_bytes_max:
            text = f"the value has {len(value)} bytes, at most {self._value_bytes_max} are parsed (NEPTUNE_VALUE_BYTES_MAX)"
            return [Reason(None, KIND_TOO_LARGE, text)]
        try:
            return self._verdict(value)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (the contract's functions are the user's, and may raise anything)
            return [_reason((), KIND_CONTRACT_RAISED, f"{type(error).__name__}: {error}")]

    def _verdict(self, value: bytes) -> tuple[Any, ...] | list[Reason]:
        try:
            return self._getter(self._validate(value, strict=True))
        except ValidationError as refused:
            return _reasons(refused)

    def columns(self, rows: Sequence[tuple[Any, ...]]) -> list[pa.Array]:
        """The columns of accepted rows; none where there are no rows.

        Raises:
            ValueError, TypeError, OverflowError: a value does not fit its column; `misfit` tells which.
        """
        if not rows:
            return []
        columns = zip(zip(*rows, strict=True), self._types, self._plain, strict=True)
        return [pa.array(map(plain, values) if plain else values, kind) for values, kind, plain in columns]

    def misfit(self, row: tuple[Any, ...], names: Sequence[str]) -> list[Reason]:
        """The reasons why an accepted row cannot be stored; none where it can."""
        return [
            _reason((name,), KIND_NOT_STORABLE, f"the value does not fit a column of type {kind}")
            for value, kind, plain, name in zip(row, self._types, self._plain, names, strict=False)
            if not _fits(value, kind, plain)
        ]


MISFIT = (ValueError, TypeError, OverflowError)
"""What Arrow raises for a value that does not fit; its own errors derive from these."""


def _fits(value: Any, kind: pa.DataType, plain: Callable[[Any], Any] | None) -> bool:
    try:
        pa.array([plain(value) if plain else value], kind)
    except MISFIT:
        return False
    return True


def _reasons(refused: ValidationError) -> list[Reason]:
    count = refused.error_count()
    if count > ERRORS_READ_MAX:
        return [Reason(None, KIND_MORE, f"{count} values are refused, too many to list")]
    errors = refused.errors(include_url=False, include_context=False, include_input=False)
    reasons = [_reason(error["loc"], error["type"], error["msg"]) for error in errors[:REASONS_MAX]]
    if count > REASONS_MAX:
        reasons[-1] = Reason(None, KIND_MORE, f"{count - REASONS_MAX + 1} more")
    return reasons


def _reason(path: tuple[int | str, ...], kind: str, message: str) -> Reason:
    field = _cut(".".join(map(str, path)), FIELD_CHARS_MAX) if path else None
    return Reason(field, kind, _cut(message, MESSAGE_CHARS_MAX))


def _cut(text: str, chars_max: int) -> str:
    if len(text) > chars_max:
        text = text[: chars_max - 1] + "…"
    return text if text.isascii() else text.encode(errors="replace").decode()


def _plain_of(annotation: Any) -> Callable[[Any], Any] | None:
    """What makes a model's value one that Arrow takes; None where it takes it as it is."""
    inner = _plain(unwrap(annotation)[0])
    return None if inner is None else lambda value: None if value is None else inner(value)


def _plain(bare: Any) -> Callable[[Any], Any] | None:
    if bare is UUID:
        return str
    if bare in _INSTANTS:
        return _instant
    if bare is Decimal:
        return _decimal
    if get_origin(bare) is list:
        element = _plain_of(get_args(bare)[0])
        return None if element is None else lambda values: [element(value) for value in values]
    if isinstance(bare, type) and issubclass(bare, Enum):
        return lambda member: member.value if isinstance(member, Enum) else member
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return _struct_of(bare)
    return None


def _instant(moment: datetime) -> datetime:
    """In UTC, so that a moment before the year 1 or after 9999 there raises an OverflowError instead of being stored."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


def _decimal(number: Decimal) -> Decimal:
    """Arrow looks at the exponent of a zero too: `0E+400` is a zero with 401 digits to it."""
    return number or Decimal(0)


def _struct_of(model: type[BaseModel]) -> Callable[[Any], Any]:
    fields = [(name, _plain_of(info.annotation)) for name, info in model.model_fields.items()]

    def struct(value: BaseModel) -> dict[str, Any]:
        return {name: plain(getattr(value, name)) if plain else getattr(value, name) for name, plain in fields}

    return struct
