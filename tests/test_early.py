"""A signal that comes while the process still imports its libraries ends it as one that comes later does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neptune_flow.early import leaving_on_signals
from tests.services.neptune import ROOT, inherited

LIMIT_S = 60.0
COMMANDS = {
    "alone": ("-m", "neptune_flow", "run"),
    "group": ("-m", "neptune_flow", "run", "--group"),
    "dataflow.py": ("dataflow.py",),
}


def hears(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal, as the kernel tells it."""
    fields = Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()
    return bool(int(fields[0], 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell who hears a signal")
@pytest.mark.parametrize("after_s", [0.0, 0.5])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_signal_while_the_libraries_are_imported_ends_the_process_with_0(
    command: tuple[str, ...], after_s: float
) -> None:
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**inherited(), "NEPTUNE_HTTP_PORT": "0", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until_s = time.monotonic() + LIMIT_S
        while not hears(process.pid, signal.SIGTERM):
            assert time.monotonic() < until_s
        time.sleep(after_s)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert "SIGTERM" in said


def test_handlers_of_others_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with leaving_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    with leaving_on_signals():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.signal(signal.SIGTERM, before)
