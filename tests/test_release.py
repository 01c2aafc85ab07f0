"""Releases: one place for the version, and what docs/upgrading.md says of going forward and back, tried with real processes."""

from __future__ import annotations

import json
import pickle
import re
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from pyiceberg.types import StringType

from neptune_flow import __version__, ledger
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.ledger import FORMAT_VERSION
from neptune_flow.telemetry import configure_logging
from tests.cli.shelf import TOPIC, Shelf, good
from tests.cli.test_run import LIMIT_S, Running, running
from tests.iceberg.worlds import stock
from tests.services.neptune import wait_for
from tests.services.recovery import held_offsets, init_store

ROOT = Path(__file__).parent.parent
RELEASE = __version__.removesuffix(".dev0")
"""The one that is being made."""
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
OPEN = {
    f"NEPTUNE_{limit}": "3600"
    for limit in ("WINDOW_S", "ALLOWED_LATENESS_S", "IDLE_TIMEOUT_S", "COMMIT_AGE_S_MAX", "RETRY_S_MAX")
}
"""Settings with which nothing is committed while a test runs."""
NEXT_CONTRACT = """
from neptune_flow.contract import DeliveryData

class Next(DeliveryData):
    note: str | None = None
"""


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Shelf]:
    """Two empty tables, and an empty topic of four partitions."""
    folder = tmp_path / "lake"
    folder.mkdir()
    with InProcessBroker() as broker:
        broker.make_topic(TOPIC)
        shelf = Shelf(folder)
        shelf.kafka = broker.bootstrap_servers
        yield shelf
    configure_logging("WARNING", "json")


def send(shelf: Shelf, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": shelf.kafka})
    for value in values:
        producer.produce(TOPIC, value, partition=0)
    assert producer.flush(10) == 0


def noted(note: str) -> bytes:
    return json.dumps(json.loads(good(1)[0]) | {"note": note}).encode()


def rows(shelf: Shelf) -> list[dict[str, Any]]:
    """What the table of rows holds, by offset."""
    found: list[dict[str, Any]] = stock(shelf.rows).scan().to_arrow().to_pylist()
    return sorted(found, key=lambda row: row["_kafka"]["offset"])


# The version


def test_the_changelog_begins_with_this_version() -> None:
    newest = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)[0]
    if __version__ != RELEASE:
        assert newest == "Unreleased"
    else:
        assert re.fullmatch(rf"{re.escape(__version__)} \(\d{{4}}-\d\d-\d\d\)", newest)


def test_the_package_takes_its_version_from_the_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "neptune_flow.__version__"}


def test_nothing_else_of_package_image_and_compose_file_says_the_version() -> None:
    places = [
        *(ROOT / "neptune_flow").rglob("*.py"),
        *map(ROOT.joinpath, ("pyproject.toml", "Dockerfile", "compose.yaml")),
    ]
    said = re.compile(rf"(?<![\d.]){re.escape(RELEASE)}(?![\d])")
    assert [file for file in places if said.search(file.read_text())] == [ROOT / "neptune_flow" / "__init__.py"]


def test_the_manifests_for_kubernetes_name_the_image_of_this_release() -> None:
    texts = {file: file.read_text() for file in (ROOT / "k8s").rglob("*") if file.is_file()}
    tags = {
        file: set(re.findall(r'(?:[tT]ag: |\bneptune:)"?(\d+\.\d+\.\d+[\w.]*)', text)) for file, text in texts.items()
    }
    named = {file.relative_to(ROOT): found for file, found in tags.items() if found}
    assert named
    assert {file: found for file, found in named.items() if found != {RELEASE}} == {}


# The ledger


def test_an_older_neptune_refuses_a_newer_ledger_in_one_sentence_and_writes_nothing(
    lake: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(ledger, "FORMAT_VERSION", FORMAT_VERSION + 1)
        newer.setattr(ledger, "_FORMAT_WITHOUT_MARKS", FORMAT_VERSION + 1)
        lake.land(good(3))
    before = sorted(lake.folder.rglob("*"))
    sentence = f"the table's ledger has format {FORMAT_VERSION + 1}, this Neptune knows {FORMAT_VERSION}"
    with running(lake, tmp_path / "elsewhere") as neptune:
        assert neptune.process.wait(LIMIT_S) == 65
        (stopped,) = [event for event in neptune.events() if event["event"] == "stopped"]
    assert stopped["reason"] == sentence
    assert stopped["hint"] == "run the Neptune that wrote it, or a newer one"
    for words in ("status", "verify", "ledger show", "ledger set --from rows --yes"):
        done = lake.neptune(*words.split())
        assert done.exit_code in (1, 2), words
        assert sentence in done.output, words
    assert sorted(lake.folder.rglob("*")) == before


def test_the_way_back_from_a_newer_ledger_is_a_rollback_and_the_newer_versions_ledger_set(
    lake: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(lake, *good(5))
    lake.land(good(3))
    tables = (lake.rows, lake.quarantine)
    known = [stock(table).metadata.current_snapshot_id for table in tables]
    with monkeypatch.context() as newer:
        newer.setattr(ledger, "FORMAT_VERSION", FORMAT_VERSION + 1)
        newer.setattr(ledger, "_FORMAT_WITHOUT_MARKS", FORMAT_VERSION + 1)
        lake.land(good(2))
        newer.setattr(ledger, "_FORMAT_WITHOUT_MARKS", 1)
        for table, snapshot in zip(tables, known, strict=True):
            stock(table).manage_snapshots().set_current_snapshot(snapshot_id=snapshot).commit()
        done = lake.neptune("ledger", "set", "--from", "ledger", "--yes")
        assert done.exit_code == 0, done.output
    for words in ("ledger show", "verify"):
        done = lake.neptune(*words.split())
        assert done.exit_code == 0, done.output


def test_every_format_of_the_ledger_has_its_row_in_the_notes() -> None:
    notes = (ROOT / "docs" / "upgrading.md").read_text()
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", notes, re.MULTILINE)] == list(range(1, FORMAT_VERSION + 1))


# The recovery store


def test_a_recovery_store_of_another_version_is_passed_over_and_costs_nothing(lake: Shelf, tmp_path: Path) -> None:
    store = init_store(tmp_path / "store")
    options = ("-r", str(store), "-b", "0")
    with running(lake, tmp_path / "elsewhere", *options, **OPEN) as neptune:
        neptune.wait_for("committed")
        send(lake, *good(5))
        wait_for(lambda: held_offsets(store).get(0) == (0, 5), "the store holds what was sent", LIMIT_S)
        neptune.process.kill()
        neptune.process.wait()
    assert rows(lake) == []
    as_another_version_would_have_written(store)
    with running(lake, tmp_path / "elsewhere", *options) as neptune:
        neptune.wait_for("committed", rows=5)
        assert neptune.end() == 0
        assert [e for e in neptune.events() if e["event"] == "recovery_store_set_aside"] == []
    assert [row["_kafka"]["offset"] for row in rows(lake)] == [0, 1, 2, 3, 4]


def as_another_version_would_have_written(store: Path) -> None:
    """What is stored is a pair: what it is bound to, and a content that only the same version reads."""
    (part,) = store.glob("*.sqlite3")
    with closing(sqlite3.connect(part)) as database, database:
        stored = database.execute("SELECT rowid, ser_change FROM snaps WHERE ser_change IS NOT NULL").fetchall()
        pairs = {row: pickle.loads(change) for row, change in stored}  # noqa: S301 the test's own store
        ours = {row: pair for row, pair in pairs.items() if isinstance(pair, tuple)}
        assert any(isinstance(content, bytes) for _, content in ours.values())
        for row, (_, content) in ours.items():
            other = ("of another version", b"not to be read" if isinstance(content, bytes) else content)
            database.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (pickle.dumps(other), row))


# The contract


def test_a_column_more_goes_forward_and_back_as_the_notes_say(lake: Shelf, tmp_path: Path) -> None:
    here = tmp_path / "elsewhere"
    here.mkdir()
    (here / "next_contract.py").write_text(NEXT_CONTRACT)
    forward, soon = {"NEPTUNE_CONTRACT": "next_contract:Next"}, {"NEPTUNE_COMMIT_AGE_S_MAX": "1"}

    def land(neptune: Running, note: str) -> None:
        before = len(neptune.events())
        send(lake, noted(note))
        wait_for(lambda: any(e.get("rows") == 1 for e in neptune.events()[before:]), f"{note} has landed", LIMIT_S)

    with running(lake, here, **soon) as old:
        land(old, "old contract, old table")
        with running(lake, tmp_path / "too early", PYTHONPATH=f"{here}:{ROOT}", **forward) as early:
            assert early.process.wait(LIMIT_S) == 78
            assert "it has no column note (string)" in early.events()[-1]["reason"]
        with stock(lake.rows).update_schema() as change:
            change.add_column("note", StringType())
        land(old, "old contract, new table")
        assert old.end() == 0
    with running(lake, here, **soon, **forward) as new:
        land(new, "new contract")
        assert new.end() == 0
    with running(lake, here, **soon) as old:
        land(old, "old contract again")
        assert old.end() == 0
    held = [(row["note"], row["_extra"] and json.loads(row["_extra"])["note"]) for row in rows(lake)]
    assert held == [
        (None, "old contract, old table"),
        (None, "old contract, new table"),
        ("new contract", None),
        (None, "old contract again"),
    ]
