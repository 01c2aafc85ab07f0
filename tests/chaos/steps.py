"""The steps of a commit, seen from outside: at which request each can be met (see the head of `neptune_flow/sink.py`)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tests.chaos.arena import Trap
from tests.chaos.proxy import Kind

LATE_S = 4.0
"""A request that arrives late does so when a successor has read the tables, and often when it has committed."""


class Step(NamedTuple):
    """One request of the start or of a commit."""

    name: str
    server: Literal["catalog", "storage"]
    pattern: str
    """With `TABLE` for the table's name."""
    first: int
    """The number of that request, since the process's start, from which on it is this step."""


_WRITES = r"^(?=PUT [^?]*$|POST .*uploadId=).*"
"""A small object is one PUT; a larger one is complete with the last request of its parts."""

STEPS = (
    Step("tables read at the start", "catalog", r"^GET .*/tables/TABLE(_quarantine)?$", 1),
    Step("rows' data file", "storage", _WRITES + "/TABLE/data/", 1),
    Step("rejects' data file", "storage", _WRITES + "/TABLE_quarantine/data/", 1),
    Step("fence of the rows", "catalog", r"^POST .*/tables/TABLE$", 1),
    Step("fence of the quarantine", "catalog", r"^POST .*/tables/TABLE_quarantine$", 1),
    Step("quarantine's manifests", "storage", _WRITES + "/TABLE_quarantine/metadata/", 2),
    Step("quarantine's commit", "catalog", r"^POST .*/tables/TABLE_quarantine$", 2),
    Step("rows' manifests", "storage", _WRITES + "/TABLE/metadata/", 2),
    Step("rows' commit", "catalog", r"^POST .*/tables/TABLE$", 2),
)
MOMENTS = (Kind.RESET_BEFORE, Kind.LOST_AFTER, Kind.WITNESSED)
"""Before the server hears of it; after it has answered; after the client has heard."""


def trap(step: Step, table: str, kind: Kind, later: int = 0) -> Trap:
    """A trap at a step; `later` lets as many such requests pass first."""
    return Trap(step.pattern.replace("TABLE", table), step.first + later, kind, LATE_S)
