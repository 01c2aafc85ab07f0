"""The house rules that a machine can keep: imports run one way, one outside world each, and every module says what it is for."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "neptune_flow"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES_MAX = 400

LAYERS = [
    ("leaves", {"__version__", "early", "errors", "records", "settings", "contract", "telemetry", "vitals"}),
    ("core", {"ledger", "validation", "windows", "protocol"}),
    ("shell", {"kafka", "iceberg", "landing", "sink", "collect", "spool", "patience", "process", "health", "web"}),
    ("start", {"start"}),
    ("tools", {"verify", "mend", "inspection"}),
    ("beside", {"simulator", "demo", "healthcheck"}),
    ("top", {"cluster", "group", "pipeline", "launch", "runner", "cli", "__main__"}),
]
"""From the bottom to the top; a module imports from its own layer and from those below. `__init__` holds the version alone."""

WORLDS = {
    "pyiceberg": {"iceberg"},
    "confluent_kafka": {"kafka"},
    "opentelemetry": {"telemetry"},
    "prometheus_client": {"telemetry"},
    "structlog": {"telemetry"},
    "tenacity": {"patience"},
    "waitress": {"web"},
    "click": {"cli"},
    "duckdb": {"inspection"},
    "pyroaring": {"verify"},
    "pydantic_settings": {"settings"},
}
"""Each outside library, and the only modules that may know it."""

PURE = {"ledger", "windows", "protocol", "records", "errors"}
IMPURE = {"time", "random", "secrets", "threading", "socket", "subprocess", "asyncio", "bytewax", "os", "requests"}


def _name(module: Path) -> str:
    """The part of the house a module belongs to: `sink`, or `kafka` for all of its folder; what `python -m` starts is the command line's."""
    if module.name == "__main__.py":
        return "__main__"
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(module: Path) -> Iterator[str]:
    """What a module imports, also within functions; what only a type checker reads counts too."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            assert node.module is not None
            yield node.module
            if node.module == "neptune_flow":
                yield from (f"neptune_flow.{alias.name}" for alias in node.names)


def _layer_of(name: str) -> int:
    return next(number for number, (_, names) in enumerate(LAYERS) if name in names)


def _ids(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@pytest.mark.parametrize("module", MODULES, ids=_ids)
def test_imports_run_downward_only(module: Path) -> None:
    if module == PACKAGE / "__init__.py":
        assert not list(_imports(module))
        return
    mine = _layer_of(_name(module))
    for imported in _imports(module):
        if imported.startswith("neptune_flow."):
            theirs = imported.split(".")[1]
            assert _layer_of(theirs) <= mine, f"{_name(module)} imports {theirs}, which stands above it"


def test_no_two_parts_of_the_house_import_each_other() -> None:
    uses: dict[str, set[str]] = {}
    for module in MODULES:
        targets = {i.split(".")[1] for i in _imports(module) if i.startswith("neptune_flow.")}
        uses.setdefault(_name(module), set()).update(targets - {_name(module)})
    reach = {name: set(targets) for name, targets in uses.items()}
    for _ in reach:
        reach = {name: t.union(*(reach.get(x, set()) for x in t)) for name, t in reach.items()}
    assert not [name for name, targets in reach.items() if name in targets]


@pytest.mark.parametrize("library", WORLDS)
def test_each_outside_world_is_known_to_one_part_alone(library: str) -> None:
    knowing = {_name(m) for m in MODULES if any(i.split(".")[0] == library for i in _imports(m))}
    assert knowing <= WORLDS[library]


@pytest.mark.parametrize("name", sorted(PURE))
def test_what_decides_knows_no_clock_network_thread_or_bytewax(name: str) -> None:
    assert not {i.split(".")[0] for i in _imports(PACKAGE / f"{name}.py")} & IMPURE


@pytest.mark.parametrize("module", MODULES, ids=_ids)
def test_every_module_opens_by_saying_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


@pytest.mark.parametrize("module", MODULES, ids=_ids)
def test_no_module_outgrows_what_one_can_hold_in_mind(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= LINES_MAX


def test_no_file_names_a_place_on_the_machine_where_it_was_written() -> None:
    places = [f"/{place}/" for place in ("root", "tmp/w")]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    texts = {f: f.read_bytes() for f in files if f.is_file()}
    assert len(texts) > len(MODULES)
    assert not [(f, p) for f, text in texts.items() for p in places if p.encode() in text]
