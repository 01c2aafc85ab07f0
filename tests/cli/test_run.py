"""`neptune run`: the packaged flow in any working directory, with the flow's own signals and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import init_db_dir
from click.testing import CliRunner

from neptune_flow.cli import main
from neptune_flow.errors import NeptuneError
from tests.cli.shelf import Shelf
from tests.cli.test_status import send

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0


class Running:
    """A process of the command."""

    def __init__(self, folder: Path, settings: dict[str, str], *options: str) -> None:
        self._log = folder / "neptune.log"
        self._file = self._log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "neptune_flow", "run", *options],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "NEPTUNE_LOG_FORMAT": "json",
                "NEPTUNE_HTTP_PORT": "0",
                **settings,
            },
            stderr=self._file,
        )

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def wait_for(self, event: str, **facts: object) -> dict[str, Any]:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            found = [e for e in self.events() if e["event"] == event and facts.items() <= e.items()]
            if found:
                return found[0]
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"no {event}: {self._log.read_text()}")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()


@contextmanager
def running(lake: Shelf, folder: Path, *options: str, **changes: str) -> Iterator[Running]:
    folder.mkdir(exist_ok=True)
    process = Running(folder, lake.settings(**{"NEPTUNE_START_WAIT_S_MAX": "30", **changes}), *options)
    try:
        yield process
    finally:
        process.close()


def test_it_lands_in_any_working_directory_and_drains_on_sigterm(lake: Shelf, tmp_path: Path) -> None:
    with running(lake, tmp_path / "elsewhere", NEPTUNE_COMMIT_AGE_S_MAX="1") as neptune:
        neptune.wait_for("committed")
        send(lake, 5)
        neptune.wait_for("committed", rejects=5)
        assert neptune.end() == 0
        assert neptune.events()[-1]["event"] == "stopped"
    held = lake.quarantine.read_ledger()
    assert held
    assert held.entries[0].rejects == 5


def test_a_recovery_store_that_cannot_be_read_is_set_aside_and_it_goes_on(lake: Shelf, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    (folder / "store").mkdir(parents=True)
    init_db_dir(folder / "store", 1)  # type: ignore[no-untyped-call]
    for file in (folder / "store").glob("*.sqlite3"):
        file.write_bytes(b"no database " * 1000)
    with running(lake, folder, "-r", "store") as neptune:
        neptune.wait_for("recovery_store_set_aside")
        neptune.wait_for("started")
        neptune.wait_for("committed")
        assert neptune.end() == 0


def test_a_wrong_setting_ends_with_the_flows_exit_code_and_one_line(lake: Shelf, tmp_path: Path) -> None:
    with running(lake, tmp_path / "elsewhere", NEPTUNE_WINDOW_S="0") as neptune:
        assert neptune.process.wait(LIMIT_S) == 78
        assert [e["event"] for e in neptune.events()] == ["stopped"]


def test_kafka_away_for_longer_than_its_limit_ends_with_69(shelf: Shelf, tmp_path: Path) -> None:
    with running(shelf, tmp_path / "elsewhere", NEPTUNE_START_WAIT_S_MAX="0") as neptune:
        assert neptune.process.wait(LIMIT_S) == 69


def test_the_options_reach_bytewax_under_its_own_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("runpy.run_module", lambda *_args, **_kwargs: called.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["neptune"])
    options = ["-w", "2", "-i", "0", "-a", "h0:1;h1:2", "-r", str(tmp_path), "-s", "3", "-b", "4"]
    assert CliRunner().invoke(main, ["run", *options]).exit_code == 0
    flow = str(ROOT / "neptune_flow" / "launch.py") + ":flow"
    words = ["--workers-per-process", "2", "--process-id", "0", "--addresses", "h0:1;h1:2"]
    words += ["--recovery-directory", str(tmp_path), "--snapshot-interval", "3", "--backup-interval", "4"]
    assert called == [[flow, *words]]


@pytest.mark.parametrize("options", [["--nonsense"], ["-w", "none"], ["-w", "0"], ["dataflow:flow"]])
def test_a_wrong_option_is_wrong_usage(options: list[str]) -> None:
    assert CliRunner().invoke(main, ["run", *options]).exit_code == 2


def test_its_help_names_every_exit_code_of_the_flow() -> None:
    def codes(kind: type[NeptuneError]) -> set[int]:
        return {kind.exit_code}.union(*(codes(child) for child in kind.__subclasses__()))

    told = CliRunner().invoke(main, ["run", "--help"]).stdout.split("Exit codes:")[1].split("Examples")[0]
    assert {int(line.split()[0]) for line in told.splitlines() if line.split()[:1] and line.split()[0].isdigit()} == {
        *codes(NeptuneError),
        2,
    }


@pytest.mark.parametrize(
    ("options", "environment", "named"),
    [
        (["-i", "0"], {}, "--process-id"),
        (["-r", "store"], {}, "--recovery-directory"),
        ([], {"BYTEWAX_ADDRESSES": "a:1;b:2"}, "BYTEWAX_ADDRESSES"),
    ],
)
def test_a_member_of_the_group_is_not_a_member_of_a_cluster_too(
    options: list[str], environment: dict[str, str], named: str
) -> None:
    told = CliRunner().invoke(main, ["run", "--group", *options], env=environment)
    assert told.exit_code == 2
    assert named in told.output


def test_a_member_of_the_group_takes_bytewaxs_workers_and_interval_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[dict[str, int]] = []
    monkeypatch.setattr("neptune_flow.launch.run_group", lambda **chosen: called.append(chosen))
    environment = {"BYTEWAX_WORKERS_PER_PROCESS": "2", "BYTEWAX_SNAPSHOT_INTERVAL": "3"}
    assert CliRunner().invoke(main, ["run", "--group"], env=environment).exit_code == 0
    assert called == [{"workers": 2, "epoch_s": 3}]


@pytest.mark.parametrize("streams", [">&- 2>&-", ">/dev/full"])
def test_streams_that_take_nothing_change_no_exit_code(tmp_path: Path, streams: str) -> None:
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "NEPTUNE_START_WAIT_S_MAX": "0", "NEPTUNE_HTTP_PORT": "0"}
    ended = subprocess.run(
        ["sh", "-c", f'exec "$0" -m neptune_flow run {streams}', sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **away},
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 69
