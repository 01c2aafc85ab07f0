"""A contract that refuses what it does not name, and takes numbers that are none."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from neptune_flow.contract import EventTime


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    at: Annotated[datetime, EventTime()]
    open: float
    above: Annotated[float, Field(gt=0)]
    between: Annotated[float, Field(ge=0, le=1)]
    finite: Annotated[float | None, Field(allow_inf_nan=False)] = None
