"""The whole demonstration, short: broker, simulator, the real flow, and the checks on what landed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIMIT_S = 120


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "neptune_flow.demo", "--folder", str(folder), *arguments],
        env={**os.environ, "COLUMNS": "160", "KAFKA_TOPIC": "a topic of the user's", "NEPTUNE_NONSENSE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def events(folder: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (folder / "flow.log").read_text().splitlines()]


def wait_for_row(demo: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and demo.poll() is None:
        if (folder / "flow.log").exists() and "neptune.commit" in (folder / "flow.log").read_text():
            return
        time.sleep(0.1)
    demo.kill()
    pytest.fail(f"nothing was committed: {demo.communicate()[0]}")


def test_everything_produced_lands_and_everything_holds(tmp_path: Path) -> None:
    demo = start(tmp_path / "new", "--seconds", "6", "--rate", "500")
    output, _ = demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 0, output
    for words in ("Some rows", "Rejects by reason", "Ledger", "Data files", "0 messages behind", "0 twins"):
        assert words in output
    assert "NO" not in output.split("Checked against")[1]
    assert "committed" in events(tmp_path / "new")
    # As the last lines say, in the same shell.
    way_on = output.split("To look further:")[1]
    looked = subprocess.run(["bash", "-e", "-c", way_on], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert looked.returncode == 0, looked.stderr
    for words in ("en_route", "json_invalid", "Whole: "):
        assert words in looked.stdout


def test_ctrl_c_ends_it_in_order_with_the_report(tmp_path: Path) -> None:
    demo = start(tmp_path, "--seconds", "600", "--rate", "500")
    wait_for_row(demo, tmp_path)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 0, output
    assert "Checked against" in output


def test_ctrl_c_before_the_flow_has_started_ends_it_at_once(tmp_path: Path) -> None:
    demo = start(tmp_path, "--seconds", "600")
    deadline = time.monotonic() + LIMIT_S
    while not (tmp_path / "flow.log").exists() and time.monotonic() < deadline and demo.poll() is None:
        time.sleep(0.01)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 130, output


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    demo = start(tmp_path)
    output, _ = demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 2
    assert "is not empty" in output
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_rate_that_the_broker_cannot_retain_is_refused(tmp_path: Path) -> None:
    demo = start(tmp_path, "--rate", "1000000")
    demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 2
