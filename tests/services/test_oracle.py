"""The oracle itself: it finds each kind of wrong in tables that were spoiled by hand, and nothing in good ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pytest

from tests.services.oracle import Landed, expected_row, find, moment
from tests.services.traffic import Sent, past_fleet

TOPIC = "topic"


def sent(count: int = 40) -> list[Sent]:
    messages = islice(past_fleet(5, bad_share=0.2), count)
    return [
        Sent(0, offset, m.value, m.key, m.timestamp_ms, m.headers, m.bad.reason if m.bad else None)
        for offset, m in enumerate(messages)
    ]


def good(messages: list[Sent]) -> list[Sent]:
    return [s for s in messages if s.refusal is None]


def landed(messages: list[Sent]) -> Landed:
    """The tables as they should be."""
    rows = [{**expected_row(s, TOPIC), "_extra": None} for s in good(messages)]
    rejects = [
        {
            "topic": TOPIC,
            "partition": s.partition,
            "offset": s.offset,
            "timestamp": moment(s.timestamp_ms),
            "key": s.key,
            "value": s.value,
            "headers": [{"name": name, "value": value} for name, value in s.headers],
            "reasons": [{"field": None, "kind": s.refusal, "message": ""}],
            "contract": "",
            "day": moment(s.timestamp_ms).date(),
        }
        for s in messages
        if s.refusal is not None
    ]
    entry = {
        "first": 0,
        "next": len(messages),
        "rows": len(rows),
        "rejects": len(rejects),
        "left_out": 0,
        "lost": 0,
    }
    return Landed(TOPIC, pa.Table.from_pylist(rows), pa.Table.from_pylist(rejects), {0: entry})


def change(table: pa.Table, number: int, name: str, value: object) -> pa.Table:
    rows = table.to_pylist()
    rows[number][name] = value
    return pa.Table.from_pylist(rows)


def entry(tables: Landed, **changes: int) -> Landed:
    return replace(tables, ledger={0: {**tables.ledger[0], **changes}})


SPOILED: dict[str, tuple[str, Callable[[Landed], Landed]]] = {
    "a row is missing": ("lost", lambda t: replace(t, rows=t.rows.slice(1))),
    "a reject is missing": ("lost", lambda t: replace(t, rejects=t.rejects.slice(1))),
    "a row is there twice": ("twin", lambda t: replace(t, rows=pa.concat_tables([t.rows, t.rows.slice(3, 1)]))),
    "a reject is there twice": ("twin", lambda t: replace(t, rejects=pa.concat_tables([t.rejects, t.rejects[:1]]))),
    "the ledger ends before the log": ("skip", lambda t: entry(t, next=39, rejects=t.ledger[0]["rejects"] - 1)),
    "the totals do not make up the offsets": ("skip", lambda t: entry(t, left_out=1)),
    "the ledger counts other rows than there are": ("skip", lambda t: entry(t, rows=0, lost=t.ledger[0]["rows"])),
    "a number is another": ("strange", lambda t: replace(t, rows=change(t.rows, 2, "current_lat", 1.5))),
    "a text is another": ("strange", lambda t: replace(t, rows=change(t.rows, 2, "status", "En_route"))),
    "a key is another": ("strange", lambda t: replace(t, rejects=change(t.rejects, 0, "key", b"?"))),
    "bytes are others": ("strange", lambda t: replace(t, rejects=change(t.rejects, 0, "value", b"?"))),
    "a header is gone": ("strange", lambda t: replace(t, rejects=change(t.rejects, 0, "headers", []))),
    "the reason is another": (
        "strange",
        lambda t: replace(t, rejects=change(t.rejects, 0, "reasons", [{"field": None, "kind": "?", "message": ""}])),
    ),
    "an extra field was not sent": ("strange", lambda t: replace(t, rows=change(t.rows, 0, "_extra", '{"a":1}'))),
}


def test_tables_that_are_right_are_found_right() -> None:
    messages = sent()
    assert str(find(messages, landed(messages), {0: len(messages)})) == ""


@pytest.mark.parametrize(("kind", "spoil"), SPOILED.values(), ids=SPOILED)
def test_tables_that_are_wrong_are_found_wrong(kind: str, spoil: Callable[[Landed], Landed]) -> None:
    messages = sent()
    findings: Any = find(messages, spoil(landed(messages)), {0: len(messages)})
    assert getattr(findings, kind), str(findings)


def test_a_row_that_nobody_sent_is_strange() -> None:
    messages = sent()
    assert any("nobody sent it" in text for text in find(messages[1:], landed(messages)).strange)


def test_a_message_in_the_wrong_table_is_strange() -> None:
    messages = sent()
    number = next(n for n, s in enumerate(messages) if s.refusal is None)
    otherwise = [*messages[:number], messages[number]._replace(refusal="missing"), *messages[number + 1 :]]
    assert any("in the wrong table" in text for text in find(otherwise, landed(messages)).strange)
