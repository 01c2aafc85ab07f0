"""Each way to spoil a message is refused for the reason it names."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from random import Random

import pytest
from pydantic import TypeAdapter, ValidationError

from neptune_flow.contract import DeliveryData
from neptune_flow.simulator import BAD_KINDS, BadKind, Fleet

OWN_REASONS = {"null_value", "event_time_in_future"}
JUDGE = TypeAdapter(DeliveryData)


def good_values(count: int) -> list[bytes]:
    fleet = Fleet(5, start=datetime(2025, 1, 31, tzinfo=UTC), bad_share=0)
    return [message.value for message in islice(fleet, count) if message.value is not None]


def test_there_are_at_least_ten_kinds_with_names_of_their_own() -> None:
    assert len({kind.name for kind in BAD_KINDS}) == len(BAD_KINDS) >= 10


@pytest.mark.parametrize("kind", [k for k in BAD_KINDS if k.reason not in OWN_REASONS], ids=lambda k: k.name)
def test_the_contract_refuses_it_for_its_reason(kind: BadKind) -> None:
    rng = Random(11)
    for value in good_values(300):
        bad = kind.spoil(value, rng)
        assert bad is not None
        with pytest.raises(ValidationError) as caught:
            JUDGE.validate_json(bad)
        assert kind.reason in {error["type"] for error in caught.value.errors()}


def test_a_time_in_the_future_is_refused_only_for_being_there() -> None:
    (kind,) = (k for k in BAD_KINDS if k.reason == "event_time_in_future")
    bad = kind.spoil(good_values(1)[0], Random(1))
    assert bad is not None
    assert JUDGE.validate_json(bad).timestamp.year == 9998


def test_a_tombstone_has_no_value() -> None:
    (kind,) = (k for k in BAD_KINDS if k.reason == "null_value")
    assert kind.spoil(good_values(1)[0], Random(1)) is None
