"""A refused message as text: laid out as it was written, marked where the contract objects, harmless on a terminal."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from neptune_flow.inspection.marking import LINES_MAX, Line, show_value
from tests.contract.second_contract import Order


def reasons(*fields: str | None, kind: str = "wrong", message: str = "is wrong") -> list[dict[str, str | None]]:
    return [{"field": field, "kind": kind, "message": message} for field in fields]


def marked(lines: list[Line]) -> list[str]:
    """The text of the lines that are marked, without indentation."""
    return [line.text.strip() for line in lines if line.mark]


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("a", '"a": 1'),
        ("b.c", '"c": "x"'),
        ("b", '"b": {'),
        ("d.1.e", '"e": null'),
        ("d.0", "true"),
        ("d", '"d": ['),
    ],
)
def test_the_field_that_a_reason_names_is_marked_and_no_other(field: str, line: str) -> None:
    value = b'{"a": 1, "b": {"c": "x"}, "d": [true, {"e": null}]}'
    assert marked(show_value(value, reasons(field))) == [line]


def test_the_paths_are_those_that_pydantic_gives() -> None:
    """What the contract really says of a nested message is marked at the values that are wrong."""
    value = json.dumps({"lines": [{"sku": "a", "count": 1}, {"sku": 2, "count": 0}], "address": 5}).encode()
    with pytest.raises(ValidationError) as refused:
        Order.model_validate_json(value)
    named = [
        {"field": ".".join(map(str, error["loc"])), "kind": error["type"], "message": error["msg"]}
        for error in refused.value.errors()
    ]
    lines = marked(show_value(value, named))
    assert {'"sku": 2', '"count": 0', '"address": 5'} <= set(lines)
    assert '"order"  is not there' in lines
    assert '"count": 1' not in lines


def test_several_reasons_for_one_field_stand_together() -> None:
    (line,) = [line for line in show_value(b'{"a": 1}', reasons("a", "a")) if line.mark]
    assert line.mark == "wrong: is wrong; wrong: is wrong"


def test_numbers_stay_as_they_were_written_and_names_may_come_twice() -> None:
    texts = [
        line.text.strip() for line in show_value(b'{"a": 1.50, "a": 1e999, "b": NaN, "c": 12345678901234567890}', [])
    ]
    assert texts == ["{", '"a": 1.50', '"a": 1e999', '"b": NaN', '"c": 12345678901234567890', "}"]


def test_a_message_that_is_wrong_as_a_whole_is_marked_at_its_beginning() -> None:
    assert marked(show_value(b"[1]", reasons(None))) == ["["]
    assert marked(show_value(None, reasons(None))) == ["null"]


def test_the_place_that_the_parser_names_is_pointed_at_in_its_line() -> None:
    value = b'{"a": 1,\n "b": oops}'
    first, second = show_value(value, reasons(None, message="Invalid JSON: expected value at line 2 column 7"))
    assert first.text == '… "b": oops}'
    assert first.text[second.text.index("^")] == "o"
    assert second.mark


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"[" * 10_000, b"no json", b"{" * 300 + b"}" * 300])
def test_whatever_the_bytes_are_something_is_shown(value: bytes) -> None:
    assert any(line.mark for line in show_value(value, reasons(None, kind="json_invalid", message="Invalid JSON")))


def test_a_large_message_is_cut_off_and_says_so() -> None:
    lines = show_value(json.dumps(list(range(1000))).encode(), [])
    assert len(lines) == LINES_MAX + 1
    assert lines[-1].text == f"… {1002 - LINES_MAX:,} lines more"


@pytest.mark.parametrize("value", [b'{"a": "\\u001b[31mred"}', b"\x1b]0;title\x07", '{"\u202ea": "\u202ex"}'.encode()])
def test_nothing_that_moves_a_terminals_cursor_or_colours_it_comes_through(value: bytes) -> None:
    assert all(c.isprintable() for line in show_value(value, []) for c in line.text)
