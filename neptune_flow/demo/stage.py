"""The demonstration's actors: broker, simulator and flow, and what each says of itself while it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from neptune_flow.errors import NeptuneError
from neptune_flow.kafka.produce import Production
from neptune_flow.settings.fields import all_docs
from neptune_flow.simulator import Fleet, SimulatedMessage

TOPIC = "sessions"
ROOT = Path(__file__).resolve().parents[2]
"""The folder of the package."""
_LAST_LINES_MAX = 20
"""Log lines kept to show why a flow ended."""
_BAD_SHARE = 0.01
_LATE_SHARE = 0.005
_KILL_WAIT_S = 10.0


def catalog_properties(folder: Path) -> str:
    """A catalog and a warehouse in this folder, as a setting has them."""
    return json.dumps({"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}"})


def environment(bootstrap_servers: str, folder: Path) -> dict[str, str]:
    """Neptune's settings for a catalog and a table in this folder; short windows, so that there is something to see."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "KAFKA_TOPIC": TOPIC,
        "NEPTUNE_CATALOG_PROPERTIES": catalog_properties(folder),
        "NEPTUNE_WINDOW_S": "3",
        "NEPTUNE_ALLOWED_LATENESS_S": "1",
        "NEPTUNE_IDLE_TIMEOUT_S": "3",
        "NEPTUNE_COMMIT_AGE_S_MAX": "10",
        "NEPTUNE_LOG_FORMAT": "json",
        "NEPTUNE_HTTP_PORT": "0",
    }


class Simulation:
    """The simulator in a thread of its own, and what it has produced."""

    def __init__(self, bootstrap_servers: str, *, seed: int, rate: float, vehicles: int) -> None:
        self._seed = seed
        self._rate = rate
        self._vehicles = vehicles
        self._production = Production(bootstrap_servers, TOPIC)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulator")
        self._failure: NeptuneError | None = None
        self.bad: Counter[str] = Counter()
        """Messages produced of each kind of bad ones, by the kind's name."""

    def start(self) -> None:
        self._thread.start()

    @property
    def sent(self) -> int:
        """Messages that Kafka has taken."""
        return self._production.acknowledged

    def stop(self) -> None:
        """Ends once Kafka has taken everything; may be called more than once.

        Raises:
            NeptuneError: Kafka has not.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._production.run(self._counted(), rate=self._rate, stop=self._stop)
        except NeptuneError as error:
            self._failure = error

    def _counted(self) -> Iterator[SimulatedMessage]:
        fleet = Fleet(
            self._seed,
            start=datetime.now(UTC),
            vehicles=self._vehicles,
            interval_s=self._vehicles / self._rate,
            bad_share=_BAD_SHARE,
            late_share=_LATE_SHARE,
        )
        for message in fleet:
            if message.bad is not None:
                self.bad[message.bad.name] += 1
            yield message


@dataclass
class Said:
    """What the flow's log has said so far."""

    started: bool = False
    commits: int = 0
    rows: int = 0
    rejects: int = 0
    late: int = 0
    last_lines: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        """One line of the log."""
        self.last_lines = [*self.last_lines[-_LAST_LINES_MAX + 1 :], line.rstrip()]
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            return
        if event.get("event") == "started":
            self.started = True
        elif event.get("event") == "committed":
            self.commits += 1
            self.rows += event["rows"]
            self.rejects += event["rejects"]
            self.late += event["late"]


class FlowProcess:
    """The flow as a user runs it, in a process of its own; its log goes to a file and is listened to."""

    def __init__(self, settings: Mapping[str, str], log_path: Path) -> None:
        names = {doc.name for doc in all_docs()}
        inherited = {name: value for name, value in os.environ.items() if not _is_setting(name, names)}
        self.said = Said()
        # A session of its own: Ctrl-C is for the demonstration, which then ends the flow in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "neptune_flow", "run"],
            cwd=ROOT,
            env={**inherited, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stderr is not None  # noqa: S101
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr, log_path), name="listener")
        self._listener.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def drain(self, limit_s: float) -> int | None:
        """SIGTERM: commit what is there and end. The exit code, or None after the limit."""
        self._process.terminate()
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        self._listener.join()
        return code

    def _listen(self, stream: IO[str], log_path: Path) -> None:
        with log_path.open("w", encoding="utf-8") as log:
            for line in stream:
                log.write(line)
                log.flush()
                self.said.hear(line)

    def __enter__(self) -> FlowProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(_KILL_WAIT_S)
        self._listener.join(_KILL_WAIT_S)


def _is_setting(name: str, names: set[str]) -> bool:
    return name.startswith("NEPTUNE_") or name.removesuffix("_FILE") in names
