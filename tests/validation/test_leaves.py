"""Contents of strings and bare values are taken where Pydantic's parser takes them, with the same value, and nowhere else."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from neptune_flow.validation.leaves import are_bare, without_escapes
from neptune_flow.validation.parsing import Strings
from tests.validation.mutations import BARE, NUMBERS, TEXTS

TEXT: TypeAdapter[str] = TypeAdapter(str)
ANYTHING: TypeAdapter[object] = TypeAdapter(object)


def texts_of(*texts: str) -> Strings:
    return Strings(pa.array(texts, pa.string()))


def text_by_pydantic(content: str) -> str | None:
    try:
        return TEXT.validate_json(f'"{content}"', strict=True)
    except ValidationError:
        return None


def is_content(content: str) -> bool:
    """Whether it may stand between two neighbouring marks: each backslash with what it escapes, and nothing to end the string."""
    without_pairs = content.replace("\\\\", "").replace('\\"', "")
    return '"' not in without_pairs and not without_pairs.endswith("\\") and min(content, default=" ") >= " "


def hold_texts(contents: list[str]) -> int:
    """Holds what these contents are said to mean to Pydantic's word; returns how many mean a text."""
    texts, good = without_escapes(texts_of(*contents))
    found = [text if is_good else None for text, is_good in zip(texts.to_pylist(), good.tolist(), strict=True)]
    assert found == [text_by_pydantic(content) for content in contents]
    return int(good.sum())


@pytest.mark.parametrize("content", [text for text in TEXTS if is_content(text)])
def test_a_content_means_what_pydantic_says(content: str) -> None:
    hold_texts([content])
    hold_texts(["x", content, r"\n", content])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_escapes_mean_what_pydantic_says(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    parts = (
        "\\\\",
        '\\"',
        "\\/",
        "\\n",
        "\\u00e9",
        "\\ud83d",
        "\\ude00",
        "\\u00",
        "\\q",
        "é",
        "x",
        "\\uD83D\\uDE00",
        ",",
    )
    contents = ["".join(rng.choices(parts, k=rng.randrange(6))) for _ in range(10_000)]
    assert all(map(is_content, contents))
    assert hold_texts(contents) > 3000
    assert sum(hold_texts([content]) for content in contents[:1000]) > 300


@pytest.mark.parametrize("value", [*BARE, *filter(None, NUMBERS), "true", "[[1, 2.5e3], [ ], {}]"])
def test_a_bare_value_is_json_without_a_quotation_mark(value: str) -> None:
    (is_bare, _) = are_bare(texts_of(value, "1")).tolist()
    if is_bare:
        assert '"' not in value
        assert value == value.strip()
        json.loads(value[:4096], parse_constant=pytest.fail)
        ANYTHING.validate_json(value[:4096])


@pytest.mark.parametrize(
    "value", ["0", "-1.50", "1E+2", "true", "false", "null", "{ }", "[]", "[1,  2]", "[[1], [2, 3]]"]
)
def test_these_are_bare_values(value: str) -> None:
    assert are_bare(texts_of(value, value)).tolist() == [True, True]
    assert are_bare(texts_of("7", value, "x")).tolist() == [True, True, False]
