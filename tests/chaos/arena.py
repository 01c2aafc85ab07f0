"""What a family acts on: one topic, its tables, proxies in front of catalog and storage, messages under way, and the count of it all.

A family starts and ends processes through the Arena, which counts restarts and measures recovery: the time from a start, or from the end of a
fault, to the next commit in the log. At the end the Arena lifts every fault, lets one more process land the rest, and compares
the tables with what was sent, by an oracle that shares nothing with Neptune, and by Neptune's own `verify`.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from tests.chaos.proxy import Fault, FaultProxy, Kind, Request, no_fault
from tests.services import oracle, traffic
from tests.services.neptune import ROOT, RUNNER, Neptune, inherited
from tests.services.oracle import Place
from tests.services.recovery import init_store, with_store
from tests.services.servers import KafkaCluster, Platform
from tests.services.stage import Stage
from tests.services.traffic import Sent, Traffic, live_fleet

RATE = 300.0
"""Messages a second, all the time: some hundred for each commit."""
PARTITIONS = 4
SETTINGS = {"NEPTUNE_WINDOW_S": "1", "NEPTUNE_REQUEST_TIMEOUT_S": "5", "NEPTUNE_START_WAIT_S_MAX": "60"}
WAIT_S_MAX = 120.0
"""How long anything may take that must come: a machine with other work needs many times what a quiet one does."""
COMMAND_S_MAX = 300.0
_EXAMPLES_MAX = 5


@dataclass
class Counts:
    """What one episode, or several, came to."""

    restarts: int = 0
    messages: int = 0
    deleted: int = 0
    """Messages that Kafka deleted on purpose before they were read; each is counted in the ledger as lost."""
    lost: int = 0
    twin: int = 0
    skip: int = 0
    strange: int = 0
    """Rows that nobody sent, wrong exit codes, what `verify` objects to, and whatever else was not as it must be."""
    recovery_s_max: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost or self.twin or self.skip or self.strange)

    def add(self, other: Counts) -> None:
        """Take another's counts in."""
        for name in ("restarts", "messages", "deleted", "lost", "twin", "skip", "strange"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.recovery_s_max = max(self.recovery_s_max, other.recovery_s_max)
        self.faults.update(other.faults)
        self.found += other.found


class Trap:
    """A proxy's judge that strikes once: at the `nth` request from now whose "METHOD path" matches."""

    def __init__(self, pattern: str, nth: int, kind: Kind, delay_s: float = 0.0) -> None:
        self._pattern = re.compile(pattern)
        self._left = nth
        self._kind = kind
        self._delay_s = delay_s
        self._act: Callable[[], None] | None = None
        self.sprung = threading.Event()

    def aim(self, victim: Neptune, number: signal.Signals) -> None:
        """Send the victim this signal when it springs."""
        self._act = lambda: victim.send(number)

    def __call__(self, request: Request) -> Fault | None:
        if self._left <= 0 or self._act is None or not self._pattern.search(f"{request.method} {request.path}"):
            return None
        self._left -= 1
        return None if self._left else Fault(self._kind, delay_s=self._delay_s, act=self._spring)

    def _spring(self) -> None:
        assert self._act
        self._act()
        self.sprung.set()


class Arena:
    """One episode's world; closes with every process of its own.

    Args:
        restarts: how many processes the family is to start after a fault.
        kafka: another cluster than the platform's.
    """

    def __init__(
        self,
        platform: Platform,
        name: str,
        directory: Path,
        seed: str,
        restarts: int,
        kafka: KafkaCluster | None = None,
    ) -> None:
        self.random = Random(seed)
        self.counts = Counts()
        self.directory = directory
        self.stage = Stage(platform, name, directory, kafka)
        self._wanted = restarts
        self._since_s: float | None = None
        self.deleted: dict[int, int] = {}
        """Per partition, the offset below which Kafka deleted records."""
        with ExitStack() as stack:
            self.catalog = stack.enter_context(FaultProxy(platform.catalog.uri))
            self.storage = stack.enter_context(FaultProxy(platform.storage.endpoint))
            self._open = stack.pop_all()
        self.stage.create_topic(PARTITIONS)
        self.traffic = self.stage.traffic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stage.close()
        self._open.close()

    # Processes

    def wants_more(self) -> bool:
        """Whether the episode's restarts are not done yet; the last one is that of `settle`."""
        return self.counts.restarts < self._wanted - 1

    def settings(self, **changes: str) -> dict[str, str]:
        """Neptune's settings, with the proxies for catalog and storage."""
        proxied = {"ICEBERG_REST_URL": self.catalog.address, "MINIO_ENDPOINT": self.storage.address}
        return {**SETTINGS, **proxied, **changes}

    def start(self, *options: str, command: Sequence[str] = RUNNER, **changes: str) -> Neptune:
        """Start Neptune; every start but the first counts as a restart."""
        self.counts.restarts += bool(self.stage.processes)
        self._since_s = time.monotonic()
        return self.stage.start(*options, command=command, **self.settings(**changes))

    def fault_ended(self) -> None:
        """From now on recovery is measured."""
        self._since_s = time.monotonic()

    def wait_commits(self, neptune: Neptune, more: int = 1) -> None:
        """Wait for so many more commits in a process's log."""
        before = len(neptune.events("committed"))
        for number in range(1, more + 1):
            neptune.wait_event("committed", WAIT_S_MAX, before + number)
            if self._since_s is not None:
                self.counts.recovery_s_max = max(self.counts.recovery_s_max, time.monotonic() - self._since_s)
                self._since_s = None

    def let_pass(self, seconds: float) -> None:
        """A drawn length of life: nothing is waited for."""
        threading.Event().wait(seconds)

    def expect_exit(self, neptune: Neptune, *codes: int) -> int:
        """Wait until a process ends by itself; another code than these is a finding."""
        code = neptune.wait(WAIT_S_MAX)
        if code not in codes:
            self.object(f"exit code {code}, expected {' or '.join(map(str, codes))}: {_last_words(neptune)}")
        return code

    def kill(self, neptune: Neptune) -> None:
        """SIGKILL. That a process has ended before by itself is a finding."""
        if (code := neptune.exit_code) is not None:
            self.object(f"ended by itself with {code}: {_last_words(neptune)}")
        neptune.kill()

    def one_stops(self, one: Neptune, other: Neptune, *codes: int) -> Neptune:
        """Of two processes on the same topic one must stop, with one of these codes; returns the one that goes on."""
        one.wait_for(lambda: one.exit_code is not None or other.exit_code is not None, "one stops", WAIT_S_MAX)
        stopped, left = (one, other) if one.exit_code is not None else (other, one)
        self.expect_exit(stopped, *codes)
        return left

    @contextmanager
    def load(self) -> Iterator[Traffic]:
        """Messages, for the length of a `with` block."""
        with self.traffic.load(live_fleet(self.random.randrange(2**31), RATE, late_share=0.01), RATE):
            yield self.traffic

    def store(self) -> list[str]:
        """The options for a new recovery store."""
        return with_store(init_store(self.directory / f"recovery-{len(self.stage.processes)}"))

    # Judgement

    def lift(self) -> None:
        """No fault any more."""
        self.catalog.judge = self.storage.judge = no_fault

    def settle(self, **changes: str) -> None:
        """Let a last process land the rest, and judge."""
        self.lift()
        for process in self.stage.processes:
            process.kill()
        last = self.start(**changes)
        last.wait_event("started", WAIT_S_MAX)
        self.stage.wait_caught_up(last, WAIT_S_MAX)
        last.send(signal.SIGTERM)
        self.expect_exit(last, 0)
        self.judge(self.traffic.sent, self.stage.log_ends())
        self.verify()

    def judge(
        self,
        sent: Sequence[Sent],
        ends: Mapping[int, int] | None = None,
        is_excused: Callable[[Place], bool] | None = None,
    ) -> None:
        """Compare the tables with what was sent.

        Args:
            is_excused: whether a message may be missing; None means: if Kafka deleted it.
        """
        excused = is_excused or (lambda place: place[1] < self.deleted.get(place[0], 0))
        landed = self.stage.landed()
        findings = oracle.find(sent, landed, ends)
        lost = [place for place in findings.lost if not excused(place)]
        missing = len(findings.lost) if is_excused is None else 0
        counted = sum(entry["lost"] for entry in landed.ledger.values())
        skips = [*findings.skip, *([f"the ledger has {counted} lost, {missing} are"] if counted != missing else [])]
        self.counts.messages += len(sent)
        self.counts.deleted += missing
        self.counts.lost += len(lost)
        self.counts.twin += len(findings.twin)
        self.counts.skip += len(skips)
        self.counts.strange += len(findings.strange)
        named: dict[str, Sequence[object]] = {"lost": lost, "twin": findings.twin, "skip": skips}
        for name, all_ in {**named, "strange": findings.strange}.items():
            self.counts.found += [f"{name}: {one}" for one in all_[:_EXAMPLES_MAX]]

    def verify(self, *options: str) -> None:
        """What Neptune's own `verify` says of the tables."""
        self._command("verify", *options)

    def set_ledger(self, source: str) -> None:
        """Mend by hand: `neptune ledger set --from …`."""
        self._command("ledger", "set", "--from", source, "--yes")

    def _command(self, *words: str) -> None:
        """One of Neptune's commands; that it fails is a finding."""
        done = subprocess.run(
            [sys.executable, "-m", "neptune_flow", *words],
            cwd=ROOT,
            env={**inherited(), **self.stage.settings()},
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        if done.returncode != 0:
            self.object(
                f"`neptune {' '.join(words)}` ends with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
            )

    def object(self, finding: str) -> None:
        """Something was not as it must be."""
        self.counts.strange += 1
        self.counts.found.append(f"strange: {finding}")

    def note_faults(self) -> None:
        """Add the proxies' faults to the counts."""
        for name, proxy in {"catalog": self.catalog, "storage": self.storage}.items():
            self.counts.faults.update({f"{name}, {fault}": count for fault, count in proxy.counts.items()})

    def keep_evidence(self, folder: Path) -> None:
        """Copy logs, ledgers, summaries and what was found into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for log in self.directory.glob("*.log"):
            shutil.copy(log, folder)
        facts = {
            "topic": self.stage.topic,
            "found": self.counts.found,
            "ledger": _asked(self.stage.ledger),
            "quarantine_ledger": _asked(lambda: self.stage.ledger("_quarantine")),
            "summaries": _asked(self.stage.summaries),
            "quarantine_summaries": _asked(lambda: self.stage.summaries("_quarantine")),
            "log_ends": _asked(self.stage.log_ends),
        }
        (folder / "facts.json").write_text(json.dumps(facts, indent=1, default=str))

    # Kafka

    def delete_records(self, before: Mapping[int, int]) -> None:
        """Let Kafka delete what lies below these offsets, and remember it."""
        traffic.delete_records(self.stage.kafka.bootstrap, self.stage.topic, dict(before))
        for partition, offset in before.items():
            self.deleted[partition] = max(offset, self.deleted.get(partition, 0))


def _asked(question: Callable[[], object]) -> object:
    try:
        return question()
    except Exception as error:  # noqa: BLE001 evidence is gathered as far as there is any
        return f"{type(error).__name__}: {error}"


def _last_words(neptune: Neptune) -> str:
    stopped = neptune.events("stopped") or neptune.events("crashed")
    return json.dumps(stopped[-1]) if stopped else neptune.tail()
