"""What Pydantic alone says of a message, by the shortest way: the oracle that the fast way is held against."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from neptune_flow.contract import Contract

Verdict = tuple[Any, ...] | list[tuple[str | None, str]]
"""The values of a row, or field and kind of each reason."""


def pydantic_says(contract: Contract, value: bytes) -> Verdict:
    try:
        model: BaseModel = contract.model.model_validate_json(value, strict=True)
    except ValidationError as refused:
        return [(".".join(map(str, error["loc"])) or None, error["type"]) for error in refused.errors()]
    moment: datetime = getattr(model, contract.event_time)
    return (*(exact(getattr(model, name)) for name in contract.model.model_fields), exact(moment.date()))


def exact(value: Any) -> Any:
    """A value with its type and all of its bits: -0.0 is not 0.0, and two texts for one instant are one."""
    match value:
        case float():
            return struct.pack(">d", value)
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None)
        case date():
            return value.isoformat()
    return value
