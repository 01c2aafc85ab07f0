"""`python dataflow.py`: Neptune's defaults around Bytewax's runner, and what becomes of a recovery store that does not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import init_db_dir

from neptune_flow import runner

ROOT = Path(__file__).parent.parent
LIMIT_S = 60

FLOW = """
import os
import sys
from pathlib import Path

from neptune_flow import runner, errors
from neptune_flow.process import install_exit_codes
from neptune_flow.telemetry import configure_logging


def judge(item):
    recovery = os.environ.get("RECOVERY")
    if recovery and not list(Path(recovery).glob("set-aside-*")):
        raise errors.StateDoesNotJoin("the store does not join")
    return item


configure_logging("INFO", "json")
install_exit_codes()
if __name__ == "__main__":
    runner.run(__file__)
    print("drained", flush=True)
else:
    import bytewax.operators as op
    from bytewax.connectors.stdio import StdOutSink
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSource

    flow = Dataflow("child")
    texts = op.map("judge", op.input("in", flow, TestingSource(["one", "two"])), judge)
    op.output("out", texts, StdOutSink())
"""


def _run(folder: Path, *options: str, recovery: Path | None = None) -> tuple[int, list[str], list[dict[str, Any]]]:
    """Exit code, printed lines and log events of `python flow.py`; with `recovery`, the flow refuses that store once."""
    file = folder / "flow.py"
    file.write_text(FLOW)
    ended = subprocess.run(
        [sys.executable, str(file), *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)} | ({"RECOVERY": str(recovery)} if recovery else {}),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    events = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    return ended.returncode, ended.stdout.split(), events


def _stores(recovery: Path) -> list[str]:
    return sorted(f.name for f in recovery.glob("*.sqlite3"))


def test_without_options_the_flow_runs_to_its_end_and_the_process_exits_0(tmp_path: Path) -> None:
    assert _run(tmp_path) == (0, ["one", "two", "drained"], [])


def test_a_recovery_directory_that_is_not_there_is_made_and_initialized(tmp_path: Path) -> None:
    recovery = tmp_path / "deep" / "recovery"
    assert _run(tmp_path, "-r", str(recovery)) == (0, ["one", "two", "drained"], [])
    assert _stores(recovery) == ["part-0.sqlite3"]


def test_a_store_that_is_there_is_used_and_not_made_anew(tmp_path: Path) -> None:
    recovery = tmp_path / "recovery"
    recovery.mkdir()
    _run(tmp_path, "-r", str(recovery))
    code, printed, _ = _run(tmp_path, "-r", str(recovery))
    assert (code, printed) == (0, ["drained"]), "the test source ended before, and the store knows it"


def test_a_store_that_does_not_join_is_set_aside_and_the_flow_goes_on_by_itself(tmp_path: Path) -> None:
    recovery = tmp_path / "recovery"
    code, printed, events = _run(tmp_path, "-r", str(recovery), recovery=recovery)
    assert (code, printed) == (0, ["one", "two", "drained"])
    assert [e["event"] for e in events] == ["recovery_store_set_aside"]
    (aside,) = recovery.glob("set-aside-*")
    assert _stores(aside) == _stores(recovery) == ["part-0.sqlite3"]


@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_a_store_that_cannot_be_read_is_set_aside_and_the_flow_goes_on_by_itself(damage: str, tmp_path: Path) -> None:
    recovery = tmp_path / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 2)  # type: ignore[no-untyped-call]
    if damage == "missing":
        (recovery / "part-0.sqlite3").unlink()
    else:
        for file in recovery.glob("*.sqlite3"):
            file.write_bytes(b"no database " * 1_000)
    code, printed, events = _run(tmp_path, "-r", str(recovery))
    assert (code, printed) == (0, ["one", "two", "drained"])
    assert [e["event"] for e in events] == ["recovery_store_set_aside"]


def test_in_a_cluster_a_store_that_does_not_join_is_left_for_all_members_and_the_process_ends(tmp_path: Path) -> None:
    recovery = tmp_path / "recovery"
    code, _, events = _run(tmp_path, "-r", str(recovery), "-i", "0", "-a", "127.0.0.1:0", recovery=recovery)
    assert code == 74
    assert [e["error"] for e in events] == ["StateDoesNotJoin"]
    assert not list(recovery.glob("set-aside-*"))


def test_set_aside_moves_the_store_with_its_journals_and_nothing_else(tmp_path: Path) -> None:
    names = ["part-0.sqlite3", "part-0.sqlite3-wal", "part-0.sqlite3-shm", "notes.txt"]
    for name in names:
        (tmp_path / name).write_text(name)
    aside = runner.set_aside(tmp_path)
    assert aside.parent == tmp_path
    assert sorted(f.name for f in aside.iterdir()) == sorted(names[:3])
    assert [f.name for f in tmp_path.iterdir() if f.is_file()] == ["notes.txt"]
    assert (aside / names[0]).read_text() == names[0]


@pytest.mark.parametrize(
    "options", [["-r", "store"], ["--recovery-directory", "store"], ["--recovery-directory=store"], ["-rstore"]]
)
def test_the_recovery_directory_is_found_in_every_form_of_the_option(options: list[str]) -> None:
    known = runner._known_options(["-w", "2", "-s", "5", *options, "-b", "0"])
    assert known.recovery_directory == Path("store")
    assert not known.is_cluster


def test_options_also_come_from_bytewaxs_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", "store")
    monkeypatch.setenv("BYTEWAX_PROCESS_ID", "0")
    monkeypatch.setenv("BYTEWAX_ADDRESSES", "a:1;b:1")
    known = runner._known_options([])
    assert (known.recovery_directory, known.is_cluster) == (Path("store"), True)


def test_the_epoch_is_a_second_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("runpy.run_module", lambda *_args, **_kwargs: called.append(sys.argv))
    monkeypatch.setattr(sys, "argv", ["dataflow.py", "-w", "2"])
    monkeypatch.delenv("BYTEWAX_SNAPSHOT_INTERVAL", raising=False)
    monkeypatch.delenv("BYTEWAX_RECOVERY_BACKUP_INTERVAL", raising=False)
    runner.run("dataflow.py")
    assert os.environ["BYTEWAX_SNAPSHOT_INTERVAL"] == "1"
    assert called == [["python dataflow.py", "dataflow.py:flow", "-w", "2"]]
    monkeypatch.setenv("BYTEWAX_SNAPSHOT_INTERVAL", "7")
    runner.run("dataflow.py")
    assert os.environ["BYTEWAX_SNAPSHOT_INTERVAL"] == "7"


def test_an_error_that_has_nothing_to_do_with_the_store_passes_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("runpy.run_module", fails)
    monkeypatch.setattr(sys, "argv", ["dataflow.py", "-r", str(tmp_path)])
    with pytest.raises(RuntimeError, match="a defect"):
        runner.run("dataflow.py")
    assert _stores(tmp_path) == ["part-0.sqlite3"]
