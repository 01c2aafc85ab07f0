"""Which messages teach a layout, and what they teach."""

from __future__ import annotations

import json

import pytest

from neptune_flow.contract import DeliveryData
from neptune_flow.contract.loading import contract_of
from neptune_flow.validation.layout import Layout
from neptune_flow.validation.learning import CELLS_MAX, DEPTH_MAX, learn
from neptune_flow.validation.rules import flat_rules
from tests.validation.test_fast_way import EVENT, LAYOUTS, PLAIN


def learned(message: bytes) -> Layout | None:
    rules = flat_rules(contract_of(DeliveryData))
    assert rules is not None
    return learn(message, rules)


def with_member(text: str) -> bytes:
    return PLAIN[:-1] + b", " + text.encode() + b"}"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(with_member('"status": "x"'), id="a key twice"),
        pytest.param(with_member('"x": 1, "x": 2'), id="an unknown key twice"),
        pytest.param(PLAIN.replace(b'"status"', rb'"st\u0061tus"'), id="an escape in a key"),
        pytest.param(with_member(r'"x": {"\u0061": 1}'), id="an escape in a nested key"),
        pytest.param(PLAIN.replace(b'"status"', b'"state"'), id="a key of the contract is absent"),
        pytest.param(PLAIN.replace(b"40.5", b'"40.5"'), id="a text in the place of a number"),
        pytest.param(PLAIN.replace(b'"en_route"', b"5"), id="a number in the place of a text"),
        pytest.param(with_member('"x": ["a", 1, 2]'), id="numbers side by side behind a text"),
        pytest.param(with_member('"x": [1,\n2]'), id="numbers in lines"),
        pytest.param(with_member('"x": [\n]'), id="an empty list in lines"),
        pytest.param(with_member('"x": NaN'), id="a token that is not JSON"),
        pytest.param(with_member(f'"x": "y"{" " * 2000}'), id="a piece longer than the padding"),
        pytest.param(with_member(f'"x": {["a"] * CELLS_MAX}'.replace("'", '"')), id="too many cells"),
        pytest.param(with_member(f'"x": {"[" * DEPTH_MAX}"a"{"]" * DEPTH_MAX}'), id="too deep"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b"[]", id="an empty list"),
    ],
)
def test_a_message_without_a_layout_teaches_none(message: bytes) -> None:
    assert learned(message) is None
    assert learned(PLAIN) is not None


@pytest.mark.parametrize("message", LAYOUTS)
def test_the_pieces_of_a_layout_are_what_stands_between_the_contents(message: bytes) -> None:
    layout = learned(message)
    assert layout is not None
    at = 0
    for piece in layout.pieces.texts:
        at = message.index(piece, at) + len(piece)
    assert at == len(message)
    assert not any(b"\\" in piece for piece in layout.pieces.texts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "-2.50e3"),
        ("1", "null"),
        ("true", "false"),
        ("[1.5, 2]", "[]"),
        ("{}", "[[1, 2], [3, null]]"),
        (r'"a"', r'"\"\u00e9\\"'),
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": true}}'),
        ('[{"a": 1}, {"a": "x"}]', '[{"a": [2]}, {"a": "y, z"}]'),
    ],
)
def test_messages_that_differ_in_their_contents_have_one_layout(one: str, other: str) -> None:
    layouts = [learned(json.dumps(EVENT)[:-1].encode() + f', "x": {value}}}'.encode()) for value in (one, other)]
    texts = [layout.pieces.texts for layout in layouts if layout is not None]
    assert len(texts) == 2
    assert texts[0] == texts[1]
