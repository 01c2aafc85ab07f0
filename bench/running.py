"""One contender's run on a filled topic, into a fresh table: what it took, by the processes' own clocks.

Neptune is started as a user does, and has landed a topic when its ledger has reached the topic's end. Rows per CPU second are those of
its processes alone, imports and start included; servers share the machine's cores, so wall time is a lower bound.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.output import ROOT
from bench.watch import cpu_s, table_of
from bench.workloads import Workload
from tests.services.neptune import RUNNER, Neptune
from tests.services.servers import Platform, free_port

SAMPLE_INTERVAL_S = 0.1
MEMBER = ("-m", "neptune_flow", "run", "--group")
END_S_MAX = 60.0
"""How long a process may drain."""


@dataclass(frozen=True)
class Cost:
    """What a contender took to land messages."""

    messages: int
    wall_s: float
    """From the start of the process to its end, or, of Neptune, to the last commit."""
    cpu_s: float
    rss_peak_mib: float
    """Of all its processes together."""
    kafka_cpu_s: float
    storage_cpu_s: float
    catalog_cpu_s: float
    commits: int = 0
    files: int = 0
    rejects: int = 0
    first_commit_s: float = 0.0
    threads_cpu_s: Mapping[str, float] = field(default_factory=dict)
    """By the threads' names, which they keep to 15 characters."""

    @property
    def rows_per_wall_s(self) -> float:
        return self.messages / self.wall_s

    @property
    def rows_per_cpu_s(self) -> float:
        return self.messages / self.cpu_s


class Meter:
    """Watches processes and servers from its making on."""

    def __init__(self, servers: Platform) -> None:
        self._servers = servers
        self._before = self._servers_cpu_s()
        self._began_s = time.monotonic()
        self._rss_peak = 0

    def _servers_cpu_s(self) -> list[float]:
        return [self._servers.kafka.cpu_s(), self._servers.storage.cpu_s(), self._servers.catalog.cpu_s()]

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._began_s

    def sample(self, processes: Sequence[psutil.Process]) -> None:
        self._rss_peak = max(self._rss_peak, sum(p.memory_info().rss for p in processes))

    def cost(self, messages: int, processes: Sequence[psutil.Process], **more: object) -> Cost:
        """What the processes, which have not been waited for yet, and the servers took until now."""
        wall_s = self.wall_s
        took_s = sum(cpu_s(p.pid) for p in processes)
        servers = [round(a - b, 2) for a, b in zip(self._servers_cpu_s(), self._before, strict=True)]
        return Cost(messages, round(wall_s, 2), round(took_s, 2), round(self._rss_peak / 2**20, 1), *servers, **more)  # type: ignore[arg-type]


def run_loop(servers: Platform, name: str, workload: Workload, table: str, messages: int) -> Cost:
    """One run of a loop of `bench.loops`, to its end."""
    command = [sys.executable, "-m", "bench.loops", name, "--topic", workload.name, "--messages", str(messages)]
    command += ["--table", f"{name}_{table}", "--schema", "small" if workload.settings else "delivery"]
    meter = Meter(servers)
    environment = {**os.environ, **servers.settings()}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        child = psutil.Process(process.pid)
        # A process that has ended keeps its times until it is waited for, and so they are whole.
        while child.status() != psutil.STATUS_ZOMBIE:
            meter.sample([child])
            time.sleep(SAMPLE_INTERVAL_S)
        cost = meter.cost(messages, [child])
    if process.returncode:
        raise SystemExit(f"the {name} loop ended with {process.returncode}")
    return cost


def run_neptune(
    servers: Platform,
    workload: Workload,
    table: str,
    messages: int,
    settings: Mapping[str, str],
    scratch: Path,
    *,
    workers: int = 1,
    processes: int = 1,
    in_group: bool = False,
) -> Cost:
    """One run of Neptune, until its ledger has reached the end of the topic.

    Args:
        processes: several are a Bytewax cluster, or, `in_group`, members of a consumer group.
    """
    whole = {
        **servers.settings(),
        "KAFKA_TOPIC": workload.name,
        "KAFKA_CONSUMER_GROUP": table,
        "ICEBERG_TABLE": table,
        "NEPTUNE_LOG_FORMAT": "json",
        # The last window closes by this, after the topic's end is reached; waiting for it is not throughput.
        "NEPTUNE_IDLE_TIMEOUT_S": "1",
        **workload.settings,
        **settings,
    }
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
    meter = Meter(servers)
    with ExitStack() as stack:
        started = []
        for number in range(processes):
            of_cluster = ["-i", str(number), "-a", addresses] if processes > 1 and not in_group else []
            command = [*(MEMBER if in_group else RUNNER), "-w", str(workers), *of_cluster]
            neptune = Neptune(whole, scratch / f"{table}-{number}.log", command)
            started.append(neptune)
        for neptune in started:
            stack.callback(neptune.wait, END_S_MAX)
        for neptune in started:  # called before the waits: those of a cluster end together
            stack.callback(neptune.send, signal.SIGTERM)
        children = [psutil.Process(neptune.pid) for neptune in started]
        first_commit_s = 0.0
        while sum(n.total("rows") + n.total("rejects") for n in started) < messages:
            for neptune in started:
                if neptune.exit_code is not None:
                    raise SystemExit(f"Neptune ended with {neptune.exit_code}:\n{neptune.tail()}")
            time.sleep(SAMPLE_INTERVAL_S)
            meter.sample(children)
            first_commit_s = first_commit_s or (meter.wall_s if any(n.total("rows") for n in started) else 0.0)
        cost = meter.cost(
            messages,
            children,
            commits=sum(len(n.events("committed")) for n in started),
            files=sum(n.total("files") for n in started),
            rejects=sum(n.total("rejects") for n in started),
            first_commit_s=round(first_commit_s, 2),
            threads_cpu_s=_threads_cpu_s(neptune.pid for neptune in started),
        )
    reader = table_of(whole)
    ledger = reader.read_ledger() if reader else None
    assert ledger is not None
    assert all(e.is_balanced for e in ledger.entries.values())
    assert sum(e.next - e.first for e in ledger.entries.values()) == messages
    return cost


def _threads_cpu_s(pids: Iterable[int]) -> dict[str, float]:
    """CPU seconds by the threads' names; those that have ended are not in it."""
    ticks = os.sysconf("SC_CLK_TCK")
    took_s: dict[str, float] = defaultdict(float)
    for task in (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()):
        name, _, fields = (task / "stat").read_text().partition("(")[2].rpartition(")")
        user, system = fields.split()[11:13]
        took_s[name.rstrip("0123456789-")] += (int(user) + int(system)) / ticks
    return {name: round(s, 2) for name, s in sorted(took_s.items()) if s >= SAMPLE_INTERVAL_S}
