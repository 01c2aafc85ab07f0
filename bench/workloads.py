"""What the topics of a comparison hold: the simulator's messages, changed in one way each.

clean         as the simulator writes them, 476 bytes on average
rejects-1     one message in a hundred is spoiled, in one of the simulator's ways
rejects-50    every second one is
commas        a comma in each `status`
escapes       a quotation mark and a backslash, escaped, in each `status`
unknown       two fields that the contract does not name in each, a number and a text
nested        an object that the contract does not name in each
small         150 bytes, a contract of five fields (`Small`)
large         5 kB: a long text in each `status`
traced        clean, each from a producer whose trace is sampled
partitions-1, partitions-64   clean, on so many Kafka partitions
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from random import Random
from string import ascii_letters
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bench.producing import Filling
from neptune_flow.contract.event_time import EventTime
from neptune_flow.simulator import Fleet
from neptune_flow.simulator.fleet import SimulatedMessage

DISTINCT_MESSAGES = 200_000
"""Made once and repeated; the simulator is not what is measured."""
LARGE_BYTES = 4600
"""Of text in a large message, beside what it has anyway."""


class Small(BaseModel):
    """The contract of the small messages."""

    model_config = ConfigDict(strict=True)

    vehicle_id: Annotated[str, Field(min_length=1)]
    timestamp: Annotated[datetime, EventTime()]
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    status: str


Change = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Workload:
    """A topic's messages."""

    name: str
    change: Change = lambda value, _rng: value
    bad_share: float = 0.0
    partitions: int | None = None
    """None: as many as the comparison is asked for."""
    headers: tuple[tuple[str, bytes], ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    """What Neptune needs to know beside."""

    @property
    def bare_can_read(self) -> bool:
        """One bad message ends the bare loop."""
        return not self.bad_share


def _status(text: str) -> Change:
    return lambda value, _rng: value.replace(b'"status": "', b'"status": "' + text.encode(), 1)


def _with(member: Callable[[Random], str]) -> Change:
    return lambda value, rng: value[:-1] + b", " + member(rng).encode() + b"}"


def _small(value: bytes, rng: Random) -> bytes:
    at = value.index(b'"timestamp": "') + 14
    time = value[at : value.index(b'"', at)].decode()
    return (
        f'{{"vehicle_id": "{rng.getrandbits(112):028x}", "timestamp": "{time}", "lat": {rng.uniform(-90, 90):.6f}, '
        f'"lon": {rng.uniform(-180, 180):.6f}, "status": "en_route"}}'
    ).encode()


def _large(value: bytes, rng: Random) -> bytes:
    text = "".join(rng.choices(ascii_letters, k=LARGE_BYTES))
    return value.replace(b'"status": "', b'"status": "' + text.encode(), 1)


WORKLOADS = {
    w.name: w
    for w in (
        Workload("clean"),
        Workload("rejects-1", bad_share=0.01),
        Workload("rejects-50", bad_share=0.5),
        Workload("commas", _status("near, ")),
        Workload("escapes", _status(r"\"near\" \\ ")),
        Workload("unknown", _with(lambda rng: f'"battery": {rng.randrange(100)}, "firmware": "2.{rng.randrange(9)}"')),
        Workload("nested", _with(lambda rng: f'"engine": {{"rpm": {rng.randrange(5000)}, "gear": "D"}}')),
        Workload("small", _small, settings={"NEPTUNE_CONTRACT": "bench.workloads:Small"}),
        Workload("large", _large),
        Workload("traced", headers=(("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)),
        Workload("partitions-1", partitions=1),
        Workload("partitions-64", partitions=64),
    )
}


def fill(bootstrap: str, topic: str, workload: Workload, messages: int, partitions: int) -> int:
    """Fill a topic that exists, partitions in turn; returns the bytes of all values."""
    fleet = Fleet(
        7,
        start=datetime.now(UTC) - timedelta(hours=6),
        vehicles=2000,
        interval_s=20.0,
        bad_share=workload.bad_share,
    )
    rng = Random(7)
    distinct = DISTINCT_MESSAGES // 10 if workload.name == "large" else DISTINCT_MESSAGES
    made = [_changed(message, workload, rng) for message in islice(fleet, min(messages, distinct))]
    chosen = list(islice(cycle(made), messages))
    Filling(bootstrap, topic, headers=workload.headers).send_in_turns(chosen, partitions)
    return sum(len(value or b"") for _, value in chosen)


def _changed(message: SimulatedMessage, workload: Workload, rng: Random) -> tuple[bytes, bytes | None]:
    if message.value is None or message.bad is not None:
        return message.key, message.value
    return message.key, workload.change(message.value, rng)
