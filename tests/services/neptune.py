"""Neptune as an operator runs it: a child process with settings in its environment and a log that is listened to.

Nothing of the flow is imported here: what a test knows of it, it knows from exit code, log, table and Kafka. A child is ended by its
id, and the kernel ends it when the test process dies (see `servers.guard`). No check of what landed may live here (`oracle`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neptune_flow.settings.fields import all_docs

ROOT = Path(__file__).resolve().parents[2]
"""The folder of dataflow.py."""
RUNNER = ("-m", "bytewax.run", "dataflow:flow", "-s", "1")
"""The documented command; epochs of one second."""
OWN_COMMAND = ("dataflow.py",)
"""Neptune's own command, with its own defaults."""
_GUARD = Path(__file__).parent / "servers" / "guard.py"
LIMIT_S = 90.0
"""How long anything is waited for unless a test says otherwise: many times what a quiet machine needs."""
_POLL_S = 0.05
_LOG_TAIL_LINES = 25
_END_S_MAX = 10.0
"""How long a killed process may take to be gone."""

Event = dict[str, Any]


class FlowError(AssertionError):
    """The child did not do what was waited for; the message ends with the tail of its log."""


class Neptune:
    """One process of Neptune, started at once; its log is the file `log`.

    Args:
        settings: the environment's settings. None of the test process's own are inherited; no port is opened without NEPTUNE_HTTP_PORT.
        log: where stdout and stderr go.
        command: arguments of the Python interpreter.
    """

    def __init__(self, settings: Mapping[str, str], log: Path, command: Sequence[str] = RUNNER) -> None:
        self.log = log
        self._seen: list[Event] = []
        self._other: list[str] = []
        self._offset = 0
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), sys.executable, *command],
                cwd=ROOT,
                env={**inherited(), "NEPTUNE_HTTP_PORT": "0", **settings},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self._process.poll()

    # What it says

    def events(self, name: str | None = None, **facts: object) -> list[Event]:
        """The log's lines so far, of one event where it is named, with these facts."""
        self._listen()
        return [
            e
            for e in self._seen
            if (name is None or e["event"] == name) and all(e.get(k) == v for k, v in facts.items())
        ]

    def other_lines(self) -> list[str]:
        """What the process wrote that is no line of its log."""
        self._listen()
        return list(self._other)

    def text(self) -> str:
        """The whole output."""
        return self.log.read_text(errors="replace")

    def total(self, fact: str) -> int:
        """A fact of all commits together."""
        return sum(e[fact] for e in self.events("committed"))

    def _listen(self) -> None:
        with self.log.open("rb") as stream:
            stream.seek(self._offset)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and "event" in event:
                self._seen.append(event)
            else:
                self._other.append(line)

    # Waiting

    def wait_for(self, condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
        """Wait until the condition holds, as long as the process runs.

        Raises:
            FlowError: it ended, or the condition did not hold within `limit_s` seconds.
        """
        for _ in _polls(limit_s):
            code = self.exit_code
            if condition():
                return
            if code is not None:
                raise FlowError(f"{what}: Neptune ended with {code}\n{self.tail()}")
        raise FlowError(f"{what}: not within {limit_s:g} s\n{self.tail()}")

    def wait_event(self, name: str, limit_s: float = LIMIT_S, count: int = 1, **facts: object) -> Event:
        """Wait for the `count`-th such event; returns it. Of a count of 0 nothing is waited for."""
        if count == 0:
            return {}
        shown = f"{count} × event {name} {facts or ''}"
        self.wait_for(lambda: len(self.events(name, **facts)) >= count, shown, limit_s)
        return self.events(name, **facts)[count - 1]

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Wait until it ends by itself; returns the exit code.

        Raises:
            FlowError: it still runs after `limit_s` seconds.
        """
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise FlowError(f"Neptune still runs after {limit_s:g} s\n{self.tail()}") from None

    def tail(self) -> str:
        """The last lines of the log, for error messages."""
        return "\n".join([f"--- last lines of {self.log} ---", *self.text().splitlines()[-_LOG_TAIL_LINES:]])

    # Ending

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended is left alone."""
        self._process.send_signal(number)

    def terminate(self, limit_s: float = LIMIT_S) -> int:
        """SIGTERM: it drains; returns the exit code. Raises as `wait` does."""
        self.send(signal.SIGTERM)
        return self.wait(limit_s)

    def kill(self) -> None:
        """SIGKILL, from one instruction to the next."""
        self._process.kill()
        self._process.wait(_END_S_MAX)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze the process for the length of a `with` block."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)


def assert_stopped(neptune: Neptune, error: str, said: str = "") -> str:
    """The log says in one line why the process ended, with no traceback; returns the line's words."""
    (why,) = neptune.events("stopped")
    assert why["error"] == error
    words = " ".join(str(why.get(part, "")) for part in ("reason", "detail", "hint"))
    assert said in words
    assert "Traceback" not in neptune.text()
    return words


def wait_for(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until the condition holds.

    Raises:
        FlowError: it did not within `limit_s` seconds.
    """
    for _ in _polls(limit_s):
        if condition():
            return
    raise FlowError(f"{what}: not within {limit_s:g} s")


def _polls(limit_s: float) -> Iterator[None]:
    deadline = time.monotonic() + limit_s
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


def inherited() -> dict[str, str]:
    """This process's environment without any setting of Neptune, Bytewax or a storage's client."""
    settings = {doc.name for doc in all_docs()}
    foreign = ("NEPTUNE_", "BYTEWAX_", "AWS_", "RUST_", "OTEL_")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and name.removesuffix("_FILE") not in settings
    }
