"""The law of design.md §6: the fast way says yes only where Pydantic does, with the same value."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from neptune_flow.contract import Contract, DeliveryData, EventTime
from neptune_flow.contract.loading import contract_of
from neptune_flow.validation import Validator
from neptune_flow.validation.extra import Extra
from neptune_flow.validation.layouts import MESSAGES_MIN, VALUE_BYTES_MAX, Layouts
from neptune_flow.validation.rejects import INSTANT_US_MAX
from neptune_flow.validation.rules import flat_rules
from tests.messages import batch_of
from tests.validation.mutations import BARE, NUMBERS, TEXTS, TIMES, Mutations
from tests.validation.oracle import exact, pydantic_says

DELIVERY = contract_of(DeliveryData)
EVENT = {
    "device_id": "d-1",
    "vehicle_id": "v-1",
    "session_id": "s-1",
    "order_id": "o-1",
    "status": "en_route",
    "timestamp": "2024-05-01T12:00:00.123456",
    "start_lat": 40.5,
    "start_lon": -74.25,
    "end_lat": 1,
    "end_lon": 2.125,
    "current_lat": -3.5,
    "current_lon": 179.999999,
}
PLAIN = json.dumps(EVENT).encode()
COMPACT = json.dumps(EVENT, separators=(",", ":")).encode()
REVERSED = json.dumps(dict(reversed(EVENT.items()))).encode()
PRETTY = b" " + json.dumps(EVENT, indent=2).encode() + b"\n"
KNOWN_MORE = json.dumps({"battery": 0.5, **EVENT, "driver": "x"}).encode()
BATTERY = {"level": 0.5, "unit": "V\n", "ok": True, "spare": {}}
PLACES = {"cells": [3.7, 3.65], "spot": [[1.5, 2], [3, 4]]}
LEGS = [{"n": 1, "to": "x"}, {"n": 2, "to": "\\"}]
NESTED = json.dumps({"legs": LEGS, **EVENT, "battery": BATTERY, **PLACES, "note": None, "tags": ["a", "é"]}).encode()
NESTED_PRETTY = json.dumps({"battery": BATTERY, **EVENT, "notes": [None, "x"]}, indent="\t").encode()
ESCAPED = json.dumps({**EVENT, "status": 'li"vr\u00e9\\', "driver": "/ \U0001f600 \\"}).encode()
LAYOUTS = (PLAIN, COMPACT, REVERSED, PRETTY, KNOWN_MORE, NESTED, NESTED_PRETTY, ESCAPED)
NUMBER_KEYS = [key.encode() for key, value in EVENT.items() if not isinstance(value, str)]
TEXT_KEYS = [b"device_id", b"vehicle_id", b"session_id", b"order_id", b"status"]
BARE_KEYS = [b"battery", b"level", b"cells", b"ok", b"n", b"note", b"spot"]
UNKNOWN_TEXT_KEYS = [b"driver", b"unit", b"to"]

MUTATIONS = int(os.environ.get("NEPTUNE_TEST_MUTATIONS", "200000"))
SEED = int(os.environ.get("NEPTUNE_TEST_SEED", "3"))


class Reading(BaseModel):
    """Another flat contract: integers, an alias, lengths, a second time."""

    name: Annotated[str, Field(min_length=2, max_length=5)]
    count: Annotated[int, Field(ge=-5, lt=10**15)]
    level: float
    share: Annotated[float, Field(gt=0, lt=1)]
    seen: datetime
    at: Annotated[datetime, EventTime()] = Field(alias="ts")


READINGS = contract_of(Reading)
READING = (
    b'{"name":"abc","count":12,"level":1.5,"share":0.25,"seen":"2024-05-01T12:00:00+02:00","ts":"2024-05-01T12:00:00Z"}'
)


def taught(contract: Contract, messages: Sequence[bytes]) -> Layouts:
    """The fast way, knowing the layouts of these messages."""
    rules = flat_rules(contract)
    assert rules is not None
    layouts = Layouts(rules)
    for message in messages:
        layouts.learn(message)
    return layouts


def yeses(contract: Contract, layouts: Layouts, values: Sequence[bytes]) -> dict[int, tuple[Any, ...]]:
    """Position and values of what the fast way accepts, the last one `_extra`."""
    found = {}
    for part in layouts.read(values, INSTANT_US_MAX):
        extra = pa.nulls(len(part.positions), pa.string()) if part.extra is None else part.extra
        columns = [column.to_pylist() for column in (*part.columns, extra)]
        for position, row in zip(part.positions.tolist(), zip(*columns, strict=True), strict=True):
            assert position not in found
            found[position] = tuple(map(exact, row))
    return found


def hold(contract: Contract, layouts: Layouts, values: Sequence[bytes]) -> int:
    """Holds the fast way to Pydantic's word on each of these values; returns how many it accepts."""
    accepted = yeses(contract, layouts, values)
    extra = Extra(contract.model)
    for value, row in {(values[position], row) for position, row in accepted.items()}:
        says = pydantic_says(contract, value)
        assert says[:-1] == row[:-1], f"{value!r}: fast {row}, Pydantic {says}"
        assert extra.of(value) == row[-1], f"{value!r}: fast {row}"
    return len(accepted)


def filled(values: Sequence[bytes], filler: bytes = PLAIN) -> list[bytes]:
    """Enough messages for the fast way to be taken."""
    return [*values, *[filler] * max(0, MESSAGES_MIN - len(values))]


@pytest.mark.parametrize("message", LAYOUTS)
def test_the_fast_way_accepts_a_good_message_of_each_layout(message: bytes) -> None:
    assert hold(DELIVERY, taught(DELIVERY, LAYOUTS), [message] * MESSAGES_MIN) == MESSAGES_MIN


def test_the_fast_way_accepts_all_layouts_side_by_side() -> None:
    values = [*LAYOUTS] * MESSAGES_MIN
    assert hold(DELIVERY, taught(DELIVERY, LAYOUTS), values) == len(values)


def in_place_of(key: str, content: bytes, base: bytes) -> bytes:
    return base.replace(json.dumps({key: EVENT[key]})[1:-1].encode(), f'"{key}": '.encode() + content)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("key", ["start_lat", "current_lon"])
def test_a_number_is_read_as_pydantic_reads_it(key: str, number: str) -> None:
    hold(DELIVERY, taught(DELIVERY, LAYOUTS), filled([in_place_of(key, number.encode(), PLAIN)]))


@pytest.mark.parametrize("time", TIMES)
def test_a_time_is_read_as_pydantic_reads_it(time: str) -> None:
    hold(DELIVERY, taught(DELIVERY, LAYOUTS), filled([in_place_of("timestamp", f'"{time}"'.encode(), PLAIN)]))


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_as_pydantic_reads_it(text: str) -> None:
    hold(DELIVERY, taught(DELIVERY, LAYOUTS), filled([in_place_of("status", f'"{text}"'.encode(), PLAIN)]))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("content", [rb"V\n", rb"\u00e9", b"x"])
def test_a_text_that_the_contract_does_not_name_is_kept_as_it_is_written(content: bytes, text: str) -> None:
    changed = NESTED.replace(b'"%b"' % content, f'"{text}"'.encode())
    assert changed != NESTED or text.encode() == content
    hold(DELIVERY, taught(DELIVERY, LAYOUTS), filled([changed]))


@pytest.mark.parametrize("value", [*NUMBERS, *BARE])
@pytest.mark.parametrize("content", [b"0.5", b"[3.7, 3.65]", b"true", b"{}", b"null"])
def test_a_value_that_the_contract_does_not_name_is_kept_as_it_is_written(content: bytes, value: str) -> None:
    changed = NESTED.replace(b": " + content, b": " + value.encode(), 1)
    assert changed != NESTED or value.encode() == content
    hold(DELIVERY, taught(DELIVERY, LAYOUTS), filled([changed]))


@pytest.mark.parametrize(
    ("meant", "written"),
    [
        ("é", rb"\u00e9"),
        ("\U0001f600", rb"\uD83D\ude00"),
        ('"', rb"\""),
        ("\\", rb"\\"),
        ('\\"', rb"\\\""),
        ("x\\", rb"x\\"),
        ("/\b\f\n\r\t\x00", rb"\/\b\f\n\r\t\u0000"),
    ],
)
def test_the_fast_way_reads_an_escape(meant: str, written: bytes) -> None:
    values = [PLAIN.replace(b"en_route", written), PLAIN.replace(b"d-1", written)] * MESSAGES_MIN
    accepted = yeses(DELIVERY, taught(DELIVERY, LAYOUTS), values)
    assert len(accepted) == len(values)
    assert (accepted[0][4], accepted[1][0]) == (meant, meant)


def test_the_fast_way_leaves_what_happens_after_the_latest_time_to_pydantic() -> None:
    moment_us = 1_714_564_800_123_456
    values = [PLAIN, PLAIN.replace(b".123456", b".123457")] * MESSAGES_MIN
    layouts = taught(DELIVERY, LAYOUTS)
    parts = [layouts.read(values, latest_us) for latest_us in (moment_us - 1, moment_us, moment_us + 1)]
    assert [sum(len(part.positions) for part in found) for found in parts] == [0, MESSAGES_MIN, 2 * MESSAGES_MIN]


def test_nulls_and_values_too_long_for_the_fast_way_cost_their_neighbours_nothing() -> None:
    too_long = PLAIN.replace(b"en_route", b"x" * VALUE_BYTES_MAX)
    for odd in ([None], [too_long], [None, too_long, b""]):
        values = [*odd, PLAIN, *odd, COMPACT, *odd] * MESSAGES_MIN
        parts = taught(DELIVERY, LAYOUTS).read(values, INSTANT_US_MAX)
        positions = sorted(position for part in parts for position in part.positions.tolist())
        assert positions == [at for at, value in enumerate(values) if value in (PLAIN, COMPACT)]


HOLES = {
    "a trailing comma": PLAIN[:-1] + b",}",
    "a trailing comma in the place of a field": PLAIN.replace(b', "current_lon": 179.999999', b","),
    "a tab in a string": PLAIN.replace(b"en_route", b"en\troute"),
    "a number as a string": PLAIN.replace(b"40.5", b'"40.5"'),
    "a boolean as a number": PLAIN.replace(b"40.5", b"true"),
    "a number as an id": PLAIN.replace(b'"d-1"', b"1"),
    "an absent field": PLAIN.replace(b', "current_lon": 179.999999', b""),
    "a null": PLAIN.replace(b"40.5", b"null"),
    "two objects": PLAIN + PLAIN,
    "two objects in lines": PLAIN + b"\n" + PLAIN,
    "nothing": b"",
    "the same key twice": PLAIN[:-1] + b', "status": "x"}',
    "the same key twice, another absent": PLAIN.replace(b'"status"', b'"order_id"'),
    "a lone surrogate": PLAIN.replace(b"en_route", rb"\ud800"),
    "a lone surrogate in UTF-8": PLAIN.replace(b"en_route", b"\xed\xa0\x80"),
    "an unknown field": PLAIN[:-1] + b', "x": 1}',
    "an unknown field for a known one": PLAIN.replace(b'"status"', b'"state"'),
    "an unknown field 5,000 deep": PLAIN[:-1] + b', "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "NaN": PLAIN.replace(b"40.5", b"NaN"),
    "Infinity": PLAIN.replace(b"40.5", b"-Infinity"),
    "1e999": PLAIN.replace(b"40.5", b"1e999"),
    "the message null": b"null",
    "a number": b"5",
    "a string": b'"s"',
    "a list": b"[]",
    "bytes that are not UTF-8": PLAIN.replace(b"en_route", b"\xff\xfe"),
    "half a character at the end": PLAIN[:-1] + b"\xc3",
    "the integer -0": PLAIN.replace(b"40.5", b"-0"),
    "the float -0.0": PLAIN.replace(b"40.5", b"-0.0"),
    "a leading zero": PLAIN.replace(b"40.5", b"040.5"),
    "a point without digits": PLAIN.replace(b"40.5", b"40."),
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "an empty id": PLAIN.replace(b"d-1", b""),
    "a quotation mark in a string": PLAIN.replace(b"en_route", rb"en\"route"),
    "two quotation marks in a string": PLAIN.replace(b"en_route", rb"en\"ro\"ute"),
    "a field inside a string": PLAIN.replace(b"en_route", rb"en\", \"x\": \"y"),
    "a backslash at the end of a string": PLAIN.replace(b"en_route", b"en_route\\"),
    "a backslash before a message": PLAIN[:-1] + b"\\",
    "a backslash in a number": PLAIN.replace(b"40.5", b"\\u0034"),
    "a backslash between the pieces": PLAIN.replace(b', "status"', b', \\"status"'),
    "an unknown value and its neighbour": NESTED.replace(b"0.5", b'0.5, "x": 1'),
    "an unknown value that ends its object": NESTED.replace(b'"ok": true', b'"ok": 1}, "x": {"y": 1'),
    "a known key in the place of an unknown one": NESTED.replace(b'"note"', b'"status"'),
    "a bad escape in an unknown text": NESTED.replace(b"V\\n", b"V\\q"),
    "a line in an unknown text": NESTED_PRETTY.replace(b"V\\n", b"V\n").replace(b"\n", b"", 1),
    "an unknown list 300 deep": NESTED.replace(b"true", b"[" * 300 + b"]" * 300),
    "an unknown list 199 deep": NESTED.replace(b"true", b"[" * 199 + b"]" * 199),
    "an unknown integer of 5,000 digits": NESTED.replace(b"true", b"1" * 5000),
    "spaces around an unknown value": NESTED.replace(b"true", b" true "),
    "strange bytes between the pieces": PLAIN.replace(b", ", b"; ", 1),
}


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_of_fast_decoders_is_closed(hole: str) -> None:
    layouts = taught(DELIVERY, LAYOUTS)
    hold(DELIVERY, layouts, filled([HOLES[hole]]))
    hold(DELIVERY, layouts, [HOLES[hole]] * MESSAGES_MIN)
    hold(DELIVERY, layouts, [HOLES[hole], NESTED] * MESSAGES_MIN)


@pytest.mark.parametrize("hole", HOLES)
def test_a_bad_message_costs_its_neighbours_nothing(hole: str) -> None:
    values = [PLAIN] * 50 + [HOLES[hole]] + [COMPACT] * 50
    accepted = yeses(DELIVERY, taught(DELIVERY, LAYOUTS), values)
    assert set(range(101)) - {50} <= accepted.keys()


def test_random_mutations_of_delivery_data_never_part_the_fast_way_from_pydantic() -> None:
    print(f"seed {SEED}, {MUTATIONS} mutations")
    layouts = taught(DELIVERY, LAYOUTS)
    mutations = Mutations(SEED, LAYOUTS, [*NUMBER_KEYS, *BARE_KEYS], [b"timestamp"], [*TEXT_KEYS, *UNKNOWN_TEXT_KEYS])
    accepted = sum(
        hold(DELIVERY, layouts, [mutations.message() for _ in range(1000)]) for _ in range(MUTATIONS // 1000)
    )
    assert accepted > MUTATIONS // 20, "the mutations are too wild to test a yes"


def test_random_mutations_of_another_flat_contract_never_part_the_fast_way_from_pydantic() -> None:
    print(f"seed {SEED}, {MUTATIONS // 4} mutations")
    layouts = taught(READINGS, [READING])
    mutations = Mutations(SEED, [READING], [b"count", b"level", b"share"], [b"seen", b"ts"], [b"name"])
    rounds = MUTATIONS // 4000
    accepted = sum(hold(READINGS, layouts, [mutations.message() for _ in range(1000)]) for _ in range(rounds))
    assert accepted > rounds * 50, "the mutations are too wild to test a yes"


NUMBER = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, min_value=-200, max_value=200).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-200, max_value=200).map(str),
    st.from_regex(r"\A-?[0-9]{1,20}(\.[0-9]{0,20})?\Z"),
)
TIME = st.one_of(
    st.datetimes().map(datetime.isoformat), st.from_regex(r"\A[0-9T: .+Z-]{10,32}\Z"), st.sampled_from(TIMES)
)
ANY_TEXT = st.one_of(
    st.tuples(st.text(max_size=20), st.booleans()).map(lambda drawn: json.dumps(drawn[0], ensure_ascii=drawn[1])[1:-1]),
    st.text(r'\\"/bnu0dD8éc \t', max_size=12),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NUMBER, TIME, ANY_TEXT), min_size=1, max_size=40))
def test_any_content_in_any_cell_is_read_as_pydantic_reads_it(contents: list[tuple[str, str, str]]) -> None:
    base = PLAIN.decode()
    values = [
        base.replace("40.5", number).replace("2024-05-01T12:00:00.123456", time).replace("en_route", text).encode()
        for number, time, text in contents
    ]
    hold(DELIVERY, taught(DELIVERY, LAYOUTS), filled(values))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from([*LAYOUTS, *HOLES.values()]), st.binary(max_size=40)), max_size=MESSAGES_MIN + 50
    )
)
def test_the_whole_verdict_with_the_fast_way_is_the_verdict_without(values: list[bytes]) -> None:
    def validator() -> Validator:
        return Validator(DELIVERY, topic="t", kafka_columns=True, extra_column=True, future_skew_s=300)

    fast, slow = validator(), validator()
    slow._layouts = None
    for message in LAYOUTS:
        fast.judge(batch_of([message]), 10**18)
    values = [*values, *LAYOUTS * (MESSAGES_MIN // len(LAYOUTS))]
    batch = batch_of(values, first=7, partition=3)
    one, other = fast.judge(batch, 10**18), slow.judge(batch, 10**18)
    assert one.rows.equals(other.rows)
    assert one.rejects.equals(other.rejects)
    assert one.rows.schema.equals(fast.rows_schema)
    assert (one.event_times == other.event_times).all()
    assert [one.rows.num_rows + one.rejects.num_rows] == [len(values)]
    assert isinstance(one.rows, pa.RecordBatch)
