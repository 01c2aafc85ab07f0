"""Columns of texts become the values that Pydantic reads, or are left to it."""

from __future__ import annotations

import json
import random
import re
import struct
from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from neptune_flow.contract.columns import INSTANT
from neptune_flow.validation import parsing
from neptune_flow.validation.parsing import (
    INSTANT_BYTES_MAX,
    INSTANT_BYTES_MIN,
    Strings,
    are_numbers,
    instants,
    parse_numbers,
)
from tests.contract.test_event_time import TIME

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FLOAT: TypeAdapter[float] = TypeAdapter(float)


def by_pydantic(text: str) -> int | None:
    try:
        moment = TIME.validate_json(json.dumps(text), strict=True)
    except ValidationError:
        return None
    return (moment - EPOCH) // timedelta(microseconds=1)


def hold_times(texts: list[str]) -> int:
    """Holds the fast reading of these texts to Pydantic's; returns how many the fast way reads."""
    values, good = instants(Strings(pa.array(texts, pa.string())))
    times = values.to_numpy().view(np.int64).tolist()
    read = {text: time for text, time, is_good in zip(texts, times, good.tolist(), strict=True) if is_good}
    wrong = {text: (time, by_pydantic(text)) for text, time in read.items() if time != by_pydantic(text)}
    assert not wrong
    return len(read)


def test_every_number_in_every_place_of_a_time_is_judged_as_pydantic_does() -> None:
    twos = [f"{n:02}" for n in range(100)]
    years = ("0000", "0001", "1900", "1970", "2000", "2023", "2024", "9999")
    texts = [f"{year}-{month}-{day}T00:00:00" for year in years for month, day in product(twos[:14], twos[:33])]
    texts += [f"2024-{two}-01T00:00:00" for two in twos] + [f"2024-01-{two}T00:00:00" for two in twos]
    for zone in ("", "Z", "+02:00", "-23:59"):
        texts += [f"2024-01-01T{two}:00:00{zone}" for two in twos]
        texts += [f"2024-01-01T00:{two}:00{zone}" for two in twos]
        texts += [f"2024-01-01 00:00:{two}.25{zone}" for two in twos]
    texts += [f"2024-01-01T00:00:00{sign}{hour}:{minute}" for sign, hour, minute in product("+-", twos[:30], twos)]
    assert hold_times(texts) > 3000


def test_the_edges_of_every_year_are_read_as_pydantic_does() -> None:
    texts = [f"{year:04}-{edge}" for year in range(10_000) for edge in ("02-29T00:00:00", "12-31T23:59:59.999999Z")]
    assert hold_times(texts) == 9999 + sum(
        year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) for year in range(1, 10_000)
    )


def test_every_way_to_write_a_time_is_judged_as_pydantic_does() -> None:
    dates = ("2024-05-01", "2024-5-1", "20240501", "2024-05", "2024-122", "+2024-05-01")
    clocks = ("", "00", "0000", "000000", "00:00", "00:00:00", "0:0:0", "00:00:00.", "00:00:00.1", "00:00:00,1")
    fractions = ("00:00:00.123456", "00:00:00.1234567", "00:00:00.123456789", "12", "1200", "120000.5")
    zones = (
        "",
        "Z",
        "z",
        "+02",
        "+0200",
        "+02:00",
        "-02:00",
        "+2",
        "+02:0",
        "+24:00",
        " Z",
        "ZZ",
        "+02:00:00",
        "UTC",
        "−02:00",
    )
    written = ["".join(parts) for parts in product(dates, "T t_", (*clocks, *fractions), zones)]
    texts = [text for text in written if INSTANT_BYTES_MIN <= len(text.encode()) <= INSTANT_BYTES_MAX]
    read = [hold_times([text]) for text in texts]
    assert sum(read) > 15


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_decimal_is_rounded_as_pydantic_rounds_it(seed: int) -> None:
    """Random digits, and decimals that lie next to the middle of two doubles, where roundings differ."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    texts = [
        f"{rng.choice(('', '-'))}{rng.randrange(10 ** rng.randrange(1, 8))}.{rng.randrange(10**15)}"
        for _ in range(5000)
    ]
    for _ in range(5000):
        low = rng.uniform(-180, 180)
        middle = (low + float(np.nextafter(low, 1e9))) / 2
        texts.append(f"{middle:.{rng.randrange(15, 20)}f}"[:24].rstrip("."))
    strings = Strings(pa.array(texts, pa.string()))
    good = are_numbers(strings)
    values = parse_numbers(strings, good, pa.float64())
    assert good.sum() > 9000
    for text, value, is_number in zip(texts, values.tolist(), good.tolist(), strict=True):
        if is_number:
            assert struct.pack("d", value) == struct.pack("d", FLOAT.validate_json(text, strict=True)), text


@pytest.mark.parametrize("kind", [pa.float64(), pa.int64()])
def test_every_short_text_of_a_numbers_bytes_is_judged_by_the_grammar_of_json(kind: pa.DataType) -> None:
    texts = ["".join(bytes_) for size in range(1, 6) for bytes_ in product("-./0159", repeat=size)]
    strings = Strings(pa.array(texts, pa.string()))
    good = are_numbers(strings)
    values = parse_numbers(strings, good, kind)
    form = re.compile(r"-?(0|[1-9][0-9]*)([.][0-9]+)?" if kind == pa.float64() else r"-?(0|[1-9][0-9]*)")
    assert good.tolist() == [form.fullmatch(text) is not None for text in texts]
    assert values.tolist() == [float(text) if is_good else 0 for text, is_good in zip(texts, good, strict=True)]


def test_one_text_that_cannot_be_read_costs_no_other() -> None:
    numbers = [str(n) for n in range(1000)]
    numbers[0], numbers[333], numbers[999] = "x", "1.2.3", "1-2"
    strings = Strings(pa.array(numbers))
    good = are_numbers(strings)
    parse_numbers(strings, good, pa.float64())
    assert np.flatnonzero(~good).tolist() == [0, 333, 999]
    times = [f"2024-01-01T00:{n // 60:02}:{n % 60:02}{'Z' if n % 2 else ''}" for n in range(1000)]
    times[0], times[333], times[999] = "2023-02-29T00:00:00", "2024-01-01T00:00:00+24:00", "2024-01-01T24:00:00.5Z"
    _, good = instants(Strings(pa.array(times)))
    assert np.flatnonzero(~good).tolist() == [0, 333, 999]


def test_texts_that_are_not_to_be_read_are_not_looked_at() -> None:
    texts = Strings(pa.array(["x", "1.5", "", "1.2.3", "2"]))
    which = np.array([False, True, False, False, True])
    assert texts.only(which).to_pylist() == [None, "1.5", None, None, "2"]
    assert parse_numbers(texts, which, pa.float64()).tolist() == [0, 1.5, 0, 0, 2]
    assert parse_numbers(texts, np.zeros(5, np.bool_), pa.int64()).tolist() == [0] * 5


def test_where_arrow_reads_less_than_was_thought_no_text_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    for look in ("_are_on_calendar", "_have_one_part"):
        monkeypatch.setattr(parsing, look, lambda texts, *_, **__: np.ones(len(texts.array), np.bool_))
    assert not instants(Strings(pa.array(["2024-02-30T00:00:00", "2024-02-03T00:00:00"])))[1].any()
    good = np.ones(2, np.bool_)
    parse_numbers(Strings(pa.array(["1.2.3", "1"])), good, pa.float64())
    assert not good.any()


def test_a_part_of_strings_holds_its_own_bytes_and_no_others() -> None:
    strings = Strings(pa.array(["a", "", "bc", "déf", ""], pa.string()))
    part = strings.part(1, 4)
    part.array.validate(full=True)
    assert part.array.to_pylist() == ["", "bc", "déf"]
    assert part.array.get_total_buffer_size() == 4 * 4 + len("bcdéf".encode())
    assert strings.part(4, 5).array.to_pylist() == [""]
    assert instants(Strings(pa.array(["2024-05-01T00:00:00"])))[0].type == INSTANT
