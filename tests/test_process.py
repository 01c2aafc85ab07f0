"""The life of the process: exit codes and the drain, seen from outside on real Bytewax processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from neptune_flow import errors
from neptune_flow.errors import DrainTimeout, NeptuneError, Unavailable
from neptune_flow.process import Lifecycle, facts_of, neptune_error_in, watch_clock

ROOT = Path(__file__).parent.parent
LIMIT_S = 60.0

KINDS = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, NeptuneError)]

PREAMBLE = """
import os

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from neptune_flow import errors
from neptune_flow.process import Lifecycle, install_exit_codes
from neptune_flow.telemetry import configure_logging

configure_logging("INFO", "json")
lifecycle = Lifecycle()


class Part(StatefulSourcePartition):
    def __init__(self):
        self.count = 0

    def next_batch(self):
        if ENDS and lifecycle.stopping.is_set():
            raise StopIteration
        self.count += 1
        return [self.count]

    def snapshot(self):
        return None


class Source(FixedPartitionedSource):
    def list_parts(self):
        return ["0", "1"]

    def build_part(self, step_id, for_part, resume_state):
        return Part()


class Landing(StatelessSinkPartition):
    def __init__(self):
        self.said = False

    def write_batch(self, items):
        if not self.said:
            os.write(1, b"flowing\\n")
            self.said = True

    def close(self):
        os.write(1, b"closed\\n")


class Sink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Landing()


def build(step):
    flow = Dataflow("child")
    op.output("out", op.map("step", op.input("in", flow, Source()), step), Sink())
    return flow
"""

RAISING = """
import sys

def fails(item):
    try:
        raise OSError("what lies beneath")
    except OSError as error:
        raise {error} from error

install_exit_codes()
flow = build(fails)
"""

RUNNING = """
lifecycle.install({drain_s_max})
flow = build(lambda item: item)
"""


class Child:
    """A Bytewax process that runs a flow written for it."""

    def __init__(self, folder: Path, text: str, *, ends: bool = True, options: tuple[str, ...] = ()) -> None:
        file = folder / "child_flow.py"
        file.write_text(f"ENDS = {ends}\n{PREAMBLE}{text}")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", f"{file}:flow", "-s", "1", *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._cut = threading.Timer(LIMIT_S, self._process.kill)
        self._cut.start()

    def wait_until_it_flows(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "flowing\n"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def next_event(self) -> dict[str, Any]:
        assert self._process.stderr is not None
        event: dict[str, Any] = json.loads(self._process.stderr.readline())
        return event

    def end(self) -> tuple[int, str, list[dict[str, Any]]]:
        """Exit code, what else it printed, and the events of its log."""
        out, err = self._process.communicate()
        self._cut.cancel()
        lines = [line for line in err.splitlines() if line.startswith("{")]
        return self._process.returncode, out, [json.loads(line) for line in lines]

    def kill(self) -> None:
        self._cut.cancel()
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.kill()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_in_a_step_ends_the_process_with_its_own_code_and_one_line(
    kind: type[NeptuneError], tmp_path: Path, children: list[Child]
) -> None:
    error = f'errors.{kind.__name__}("what happened", detail="to which offsets", hint="what to do")'
    children.append(Child(tmp_path, RAISING.format(error=error)))
    code, _, events = children[0].end()
    assert code == kind.exit_code
    (event,) = events
    assert event["level"] == ("error" if code else "info")
    assert {k: event[k] for k in ("event", "error", "exit_code", "reason", "detail", "hint")} == {
        "event": "stopped",
        "error": kind.__name__,
        "exit_code": kind.exit_code,
        "reason": "what happened",
        "detail": "to which offsets",
        "hint": "what to do",
    }


def test_an_error_on_one_of_two_workers_ends_the_whole_process_with_its_code(
    tmp_path: Path, children: list[Child]
) -> None:
    children.append(Child(tmp_path, RAISING.format(error='errors.Superseded("other")'), options=("-w", "2")))
    code, _, events = children[0].end()
    assert (code, [e["error"] for e in events]) == (75, ["Superseded"])


def test_any_other_error_ends_with_code_1_and_its_traceback_in_one_line(tmp_path: Path, children: list[Child]) -> None:
    children.append(Child(tmp_path, RAISING.format(error='KeyError("a defect")')))
    code, _, events = children[0].end()
    assert code == 1
    (event,) = events
    assert event["event"] == "crashed"
    assert "a defect" in event["exception"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_drains_the_flow_and_the_process_exits_0(
    number: signal.Signals, workers: str, tmp_path: Path, children: list[Child]
) -> None:
    child = Child(tmp_path, RUNNING.format(drain_s_max=30), options=("-w", workers))
    children.append(child)
    child.wait_until_it_flows()
    child.signal(number)
    code, out, events = child.end()
    assert code == 0
    assert "closed" in out
    draining, stopped = events
    assert (draining["event"], draining["signal"]) == ("draining", number.name)
    assert (stopped["event"], stopped["exit_code"]) == ("stopped", 0)
    assert stopped["reason"] == f"drained after {number.name}"


def test_a_drain_that_outlasts_its_limit_is_cut_off_with_the_code_for_it(tmp_path: Path, children: list[Child]) -> None:
    child = Child(tmp_path, RUNNING.format(drain_s_max=0.3), ends=False)
    children.append(child)
    child.wait_until_it_flows()
    child.signal(signal.SIGTERM)
    code, _, events = child.end()
    assert code == DrainTimeout.exit_code
    assert [e["event"] for e in events] == ["draining", "stopped"]
    assert "within 0.3 s" in events[1]["reason"]


def test_a_signal_that_reaches_the_process_and_its_group_is_one(tmp_path: Path, children: list[Child]) -> None:
    child = Child(tmp_path, RUNNING.format(drain_s_max=3_600))
    children.append(child)
    child.wait_until_it_flows()
    child.signal(signal.SIGTERM)
    child.signal(signal.SIGTERM)
    code, _, events = child.end()
    assert code == 0
    assert [e["event"] for e in events] == ["draining", "stopped"]


def test_a_second_signal_cuts_the_drain_off_at_once(tmp_path: Path, children: list[Child]) -> None:
    child = Child(tmp_path, RUNNING.format(drain_s_max=3_600), ends=False)
    children.append(child)
    child.wait_until_it_flows()
    child.signal(signal.SIGTERM)
    assert child.next_event()["event"] == "draining"
    child.signal(signal.SIGINT)
    code, _, events = child.end()
    assert code == DrainTimeout.exit_code
    assert [e["event"] for e in events] == ["stopped"]
    assert "SIGINT again" in events[0]["reason"]


def test_exit_codes_are_those_that_the_head_of_errors_draws() -> None:
    drawing = [line.replace("│", " ").split() for line in (errors.__doc__ or "").splitlines()]
    drawn = {words[1]: int(words[2]) for words in drawing if words and words[0] in ("├──", "└──")}
    assert drawn == {k.__name__: k.exit_code for k in KINDS if k is not NeptuneError}


def test_neptunes_error_is_found_among_causes_and_contexts() -> None:
    wanted = Unavailable("away")
    outer = RuntimeError("outer")
    outer.__cause__ = ValueError("middle")
    outer.__cause__.__context__ = wanted
    assert neptune_error_in(outer) is wanted
    assert neptune_error_in(wanted) is wanted
    assert neptune_error_in(RuntimeError("alone")) is None
    assert neptune_error_in(None) is None


def test_a_ring_of_causes_ends() -> None:
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert neptune_error_in(one) is None


def test_a_log_line_of_an_error_has_only_the_parts_that_say_something() -> None:
    assert facts_of(Unavailable("away")) == {"error": "Unavailable", "exit_code": 69, "reason": "away"}


def test_a_lifecycle_begins_without_a_stop() -> None:
    assert not Lifecycle().stopping.is_set()


@pytest.mark.parametrize(("step_s", "ends"), [(-3600.0, True), (-6.0, True), (-4.0, False), (3600.0, False)])
def test_a_clock_that_is_set_back_ends_the_process_and_one_that_is_set_forward_does_not(
    step_s: float, ends: bool
) -> None:
    now_s = 0.0
    left: list[NeptuneError] = []

    def pause(_seconds: float) -> None:
        nonlocal now_s
        now_s += 1.0
        if now_s > 4:
            raise StopIteration

    with suppress(StopIteration):
        watch_clock(
            left.append,
            wall_s=lambda: 100.0 + now_s + (step_s if now_s >= 2 else 0.0),
            steady_s=lambda: now_s,
            pause=pause,
        )
    assert [error.exit_code for error in left] == ([71] if ends else [])
