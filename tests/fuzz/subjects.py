"""The contracts that are fuzzed, as trees of what a good message holds: enough to write one, and to know which keys are unknown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from tests.fuzz import tokens


@dataclass(frozen=True)
class Leaf:
    """A value without keys: how a good one is written, and odd ones in its place."""

    good: Callable[[Random], str]
    odd: Sequence[str]


@dataclass(frozen=True)
class Group:
    """An object with these members."""

    members: Mapping[str, Kind]
    optional: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Many:
    """A list."""

    element: Kind


Kind = Leaf | Group | Many


@dataclass(frozen=True)
class Subject:
    """A contract and how its messages are written."""

    name: str
    contract: str
    """As NEPTUNE_CONTRACT names it."""
    document: Group
    event_time: str


def _number(half: float, digits: int) -> Callable[[Random], str]:
    return lambda rng: repr(round(rng.uniform(-half, half), rng.choice((digits, digits, 17))))


def _text(rng: Random) -> str:
    return json.dumps(
        rng.choice(("v", "order-", *tokens.GOOD_TEXTS)) + str(rng.randrange(10**6)), ensure_ascii=rng.random() < 0.2
    )


def _time(rng: Random) -> str:
    """On one of a few days, for each is a file of its own in each commit."""
    day = rng.choice(("2024-05-01", "2024-05-01", "2024-05-02", "1970-01-01", "1969-12-31", "0001-01-02"))
    fraction = rng.choice(("", ".5", ".123", f".{rng.randrange(10**6):06}"))
    zone = rng.choice(("", "", "Z", "+00:00", "+05:30", "-08:00"))
    separator = rng.choice("TTT ")
    return f'"{day}{separator}{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}{fraction}{zone}"'


def _one_of(*choices: str) -> Callable[[Random], str]:
    return lambda rng: rng.choice(choices)


_TEXT = Leaf(_text, tokens.TEXT)
_TIME = Leaf(_time, tokens.TIME)
_INTEGER = Leaf(lambda rng: str(rng.randrange(-(10 ** rng.choice((1, 3, 18))), 10**6)), tokens.NUMBER)
_COUNT = Leaf(lambda rng: str(rng.randrange(1, 100)), tokens.NUMBER)

DELIVERY = Subject(
    "delivery",
    "neptune_flow.contract:DeliveryData",
    Group(
        {
            **dict.fromkeys(("device_id", "vehicle_id", "session_id", "order_id", "status"), _TEXT),
            "timestamp": _TIME,
            **{
                f"{which}_{axis}": Leaf(_number(half, 6), tokens.NUMBER)
                for which in ("start", "end", "current")
                for axis, half in (("lat", 90), ("lon", 180))
            },
        }
    ),
    event_time="timestamp",
)

_ADDRESS = Group({"street": _TEXT, "number": _INTEGER}, frozenset({"number"}))
_LINE = Group({"sku": _TEXT, "count": _COUNT})

ORDER = Subject(
    "order",
    "tests.contract.second_contract:Order",
    Group(
        {
            "order": Leaf(lambda rng: f'"{UUID(int=rng.getrandbits(128))}"', tokens.UUID),
            "placed_at": _TIME,
            "paid": Leaf(_one_of("true", "false"), ("1", "0", '"true"', '"yes"', "1.0")),
            "total": Leaf(lambda rng: f'"{rng.randrange(10**6) / 100:.2f}"', tokens.DECIMAL),
            "due": Leaf(lambda rng: f'"2024-06-{rng.randrange(1, 31):02}"', tokens.DATE),
            "colour": Leaf(_one_of('"red"', '"green"'), tokens.WORD),
            "channel": Leaf(_one_of('"web"', '"shop"'), tokens.WORD),
            "note": Leaf(lambda rng: rng.choice(("null", _text(rng))), tokens.TEXT),
            "priority": _INTEGER,
            "shipped_at": Leaf(lambda rng: rng.choice(("null", _time(rng))), tokens.TIME),
            "address": _ADDRESS,
            "lines": Many(_LINE),
            "tags": Many(_TEXT),
            "seal": Leaf(lambda rng: rng.choice(("null", _text(rng))), tokens.TEXT),
        },
        frozenset({"channel", "priority", "shipped_at", "tags", "seal"}),
    ),
    event_time="placed_at",
)

READING = Subject(
    "reading",
    "tests.validation.test_fast_way:Reading",
    Group(
        {
            "name": Leaf(lambda rng: f'"{rng.randrange(10, 10**5)}"', tokens.TEXT),
            "count": Leaf(lambda rng: str(rng.randrange(-5, 10 ** rng.choice((1, 3, 15)))), tokens.NUMBER),
            "level": Leaf(lambda rng: repr(rng.uniform(-1, 1) * 10.0 ** rng.randrange(-3, 9)), tokens.NUMBER),
            "share": Leaf(lambda rng: repr(round(rng.uniform(0.001, 0.999), 6)), tokens.NUMBER),
            "seen": _TIME,
            "ts": _TIME,
        }
    ),
    event_time="at",
)
"""Flat as the delivery event, with integers, numbers of any size and an alias: the fast way's other fields."""

SUBJECTS = {subject.name: subject for subject in (DELIVERY, ORDER, READING)}
