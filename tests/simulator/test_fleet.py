"""The simulated fleet: the same seed gives the same messages, and they look like the platform's."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from pydantic import TypeAdapter

from neptune_flow.contract import DeliveryData
from neptune_flow.simulator import BAD_KINDS, Fleet, SimulatedMessage

START = datetime(2025, 1, 31, 23, 59, tzinfo=UTC)


def take(count: int, seed: int = 7, **options: Any) -> list[SimulatedMessage]:
    return list(islice(Fleet(seed, start=START, **options), count))


def fields_of(message: SimulatedMessage) -> dict[str, Any]:
    assert message.value is not None
    fields: dict[str, Any] = json.loads(message.value)
    return fields


def test_the_same_seed_gives_the_same_messages() -> None:
    assert take(3000, bad_share=0.1, late_share=0.1) == take(3000, bad_share=0.1, late_share=0.1)


def test_another_seed_gives_others() -> None:
    assert not {m.value for m in take(100)} & {m.value for m in take(100, seed=8)}


def test_iterating_twice_begins_anew() -> None:
    fleet = Fleet(3, start=START)
    assert list(islice(fleet, 50)) == list(islice(fleet, 50))


def test_a_message_has_the_twelve_fields_in_order_and_about_470_bytes() -> None:
    messages = take(2000, bad_share=0)
    assert list(fields_of(messages[0])) == list(DeliveryData.model_fields)
    assert 440 < sum(len(m.value or b"") for m in messages) / len(messages) < 500


def test_without_a_bad_share_the_contract_accepts_every_message() -> None:
    judge = TypeAdapter(DeliveryData)
    for message in take(5000, bad_share=0, late_share=0.2):
        assert message.bad is None
        assert message.value is not None
        judge.validate_json(message.value)


def test_a_session_starts_drives_from_start_to_end_and_completes() -> None:
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in take(40_000, vehicles=50, bad_share=0):
        fields = fields_of(message)
        sessions[fields["session_id"]].append(fields)
    whole = [s for s in sessions.values() if s[0]["status"] == "started" and s[-1]["status"] == "completed"]
    assert len(whole) > 100
    for session in whole:
        assert {f["status"] for f in session[1:-1]} <= {"en_route"}
        assert len({(f["vehicle_id"], f["order_id"], f["start_lat"], f["end_lon"]) for f in session}) == 1
        assert session[0]["current_lat"] == pytest.approx(session[0]["start_lat"], abs=1e-3)
        assert session[-1]["current_lon"] == pytest.approx(session[-1]["end_lon"], abs=1e-3)


def test_a_key_is_its_vehicle() -> None:
    assert all(m.key.decode() == fields_of(m)["vehicle_id"] for m in take(500, bad_share=0))


def test_a_round_of_all_vehicles_takes_the_interval() -> None:
    messages = take(31, vehicles=10, interval_s=5.0, bad_share=0)
    times = [datetime.fromisoformat(fields_of(m)["timestamp"]) for m in messages]
    assert times[0] == START
    assert times[30] - times[0] == timedelta(seconds=15)
    assert times == sorted(times)
    assert [m.timestamp_ms for m in messages] == [int(t.timestamp() * 1000) for t in times]


def test_the_shares_of_bad_and_late_messages_are_kept() -> None:
    messages = take(20_000, bad_share=0.05, late_share=0.1)
    bad = [m for m in messages if m.bad]
    assert len(bad) / len(messages) == pytest.approx(0.05, abs=0.01)
    assert {m.bad for m in bad} == set(BAD_KINDS)
    good = [m for m in messages if not m.bad]
    behind = [m.timestamp_ms / 1000 - datetime.fromisoformat(fields_of(m)["timestamp"]).timestamp() for m in good]
    assert sum(b > 200 for b in behind) / len(good) == pytest.approx(0.1, abs=0.01)
