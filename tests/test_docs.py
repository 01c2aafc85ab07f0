"""The documentation is tested: settings, exit codes, commands and files that README names exist, and none is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neptune_flow import errors
from neptune_flow.contract import load_contract
from neptune_flow.settings import markdown
from neptune_flow.validation import Validator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [*(ROOT / n for n in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def all_errors(kind: type[errors.NeptuneError] = errors.NeptuneError) -> list[type[errors.NeptuneError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in all_errors(child))]


def test_readme_has_the_table_of_settings_that_the_settings_print() -> None:
    table = README.split("<!-- settings -->")[1].split("<!-- /settings -->")[0].strip()
    assert table == markdown(), "run: python -m neptune_flow.settings, and put the table into README"


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_readme_explains_every_exit_code(kind: type[errors.NeptuneError]) -> None:
    assert f"\n| {kind.exit_code} |" in README


def test_every_make_target_that_the_pages_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for command in re.findall(r"(?:^|`)make ([a-z -]+)(?:$|`)", page.read_text(), re.MULTILINE)
        for target in command.split()
    }
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    paths = re.findall(r"`((?:tests|docs|bench|neptune_flow)/[\w./-]+)`", text)
    missing = [name for name in links if not (page.parent / name).exists()]
    missing += [name for name in paths if not (ROOT / name).exists()]
    assert not missing


def test_readme_names_every_column_of_both_tables() -> None:
    validator = Validator(
        load_contract("neptune_flow.contract:DeliveryData"),
        topic="sessions",
        kafka_columns=True,
        extra_column=True,
        future_skew_s=300,
    )
    columns = [*validator.rows_schema.names, *validator.rejects_schema.names]
    assert [name for name in columns if f"`{name}`" not in README] == []
