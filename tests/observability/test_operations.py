"""docs/operations.md is kept true: log events, exit codes, metrics and links are those of the sources."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from neptune_flow.cli import COMMANDS
from neptune_flow.settings.fields import all_docs
from tests.observability.files import FOLDER, OPERATIONS, ROOT, is_documented, sections
from tests.test_docs import all_errors

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
SOURCES = [*(ROOT / "neptune_flow").rglob("*.py"), ROOT / "dataflow.py"]
TEXT = OPERATIONS.read_text()


def logged_events() -> dict[str, set[str]]:
    """Every event of the sources' loggers, with the levels at which it is logged."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in SOURCES:
        for node in ast.walk(ast.parse(module.read_text())):
            match node:
                case ast.Call(ast.Attribute(ast.Name("log"), level), [event, *_]) if level in LEVELS:
                    name = ast.literal_eval(event)  # fails where an event has no fixed name
                    found[name].add("error" if level == "exception" else level)
    return found


def test_the_page_lists_every_log_event_with_its_level_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| (.+) \| (.*) ?\|$", sections(OPERATIONS, 2)["Log events"], re.M)
    assert {event: set(levels.split(", ")) for event, levels, _, _ in rows} == logged_events()


def test_no_logger_has_another_name_than_those_that_are_looked_for() -> None:
    makers = [m for module in SOURCES for m in re.findall(r"^(.*)\bget_logger\(", module.read_text(), re.MULTILINE)]
    assert makers
    assert {maker.strip() for maker in makers} == {"log =", "def", "return structlog.stdlib."}


def test_the_page_says_of_every_exit_code_whether_to_start_again() -> None:
    table = sections(OPERATIONS, 2)["Exit codes"]
    said = [int(code) for codes in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in codes.split(", ")]
    assert sorted(said) == sorted({0, 137} | {error.exit_code for error in all_errors()})


def test_every_setting_that_the_page_names_exists() -> None:
    known = {doc.name for doc in all_docs()}
    named = set(re.findall(r"`((?:NEPTUNE|KAFKA|ICEBERG|MINIO|LOG)_[A-Z_]+)`", TEXT))
    assert named
    assert named <= known


def test_every_command_that_the_page_names_exists() -> None:
    named = set(re.findall(r"(?:`|^)neptune ([a-z]+)", TEXT, re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)


def test_the_page_names_every_file_of_the_folder_observability() -> None:
    named = [ROOT / path for path in re.findall(r"`(observability/[\w./-]+)`", TEXT)]
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if not any(path == n or n in path.parents for n in named)] == []
    assert [path for path in named if not path.exists()] == []


def test_every_metric_that_the_page_names_is_documented() -> None:
    named = set(re.findall(r"`((?:neptune|messaging|process|bytewax)_[a-z_]+)`", TEXT))
    assert [name for name in named if not is_documented(name)] == []


def test_every_link_into_a_page_reaches_a_heading() -> None:
    missing = []
    for target in re.findall(r"\]\(([^)]*#[^)]+)\)", TEXT):
        page, _, anchor = target.partition("#")
        if anchor not in _anchors((OPERATIONS.parent / page) if page else OPERATIONS):
            missing.append(target)
    assert missing == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
