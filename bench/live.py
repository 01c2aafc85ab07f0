"""Neptune on a live topic: how fresh, how idle, how soon after a start, how fast after an outage, how steady for long.

    python -m bench.live freshness --rates 2000,20000 --windows 1,5,60
    python -m bench.live idle --partitions 4,64
    python -m bench.live restart --snapshots 100,10000
    python -m bench.live catch-up --messages 5000000
    python -m bench.live soak --minutes 20

Real Kafka, object storage and REST catalog as plain processes on this machine, and Neptune as a user starts it, with all settings at their defaults but those that a table
names. What is readable is what a reader of the catalog sees (`bench.watch`). Each command prints a table and writes bench/results/live-COMMAND.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench import figure, history
from bench.load import fill, load
from bench.output import save, save_figure
from bench.watch import LogEnds, Watch, cpu_s
from tests.services.neptune import Neptune
from tests.services.servers import KafkaCluster, Platform

LAND_S_MAX = 1800.0
SAMPLE_INTERVAL_S = 1.0
WARM_UP_S = 120.0
"""Of a soak: what grows after this is growth."""


class Scene:
    """The servers, and a topic with its table and Neptune for each run."""

    def __init__(self, servers: Platform, scratch: Path) -> None:
        self.servers = servers
        self.scratch = scratch
        self.bootstrap = servers.kafka.bootstrap

    def topic(self, name: str, partitions: int) -> None:
        self.servers.kafka.create_topic(name, partitions, config={"retention.ms": "-1"})

    def settings(self, topic: str, **changes: str) -> dict[str, str]:
        own = {"KAFKA_TOPIC": topic, "ICEBERG_TABLE": topic.replace("-", "_"), "NEPTUNE_LOG_FORMAT": "json"}
        return {**self.servers.settings(), **own, **changes}

    @contextmanager
    def neptune(self, settings: Mapping[str, str]) -> Iterator[Neptune]:
        """Neptune for the length of a `with` block; it must drain well."""
        log = self.scratch / f"{settings['KAFKA_TOPIC']}-{time.monotonic_ns()}.log"
        neptune = Neptune(settings, log)
        try:
            yield neptune
            code = neptune.terminate()
            assert code == 0, neptune.tail()
        finally:
            if neptune.exit_code is None:
                neptune.kill()


def main() -> None:
    options = _options()
    kafka = KafkaCluster(jvm_options=["-XX:TieredStopAtLevel=4"])
    with Platform(kafka) as servers, tempfile.TemporaryDirectory() as scratch:
        servers.storage.create_bucket(servers.bucket)
        rows = COMMANDS[options.command](Scene(servers, Path(scratch)), options)
    _report(options, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        add = commands.add_parser(name).add_argument
        add("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting for Neptune")
        if name in ("freshness", "soak"):
            add("--partitions", type=int, default=4, help="Kafka partitions (default: %(default)s)")
        if name == "freshness":
            add("--rates", type=_numbers, default="2000,20000", help="messages a second, with commas")
            add("--windows", type=_numbers, default="1,5,60", help="lengths of windows, seconds, with commas")
            add("--windows-long", type=int, default=4, help="windows that are measured, a minute at least")
        elif name == "idle":
            add("--partitions", type=_numbers, default="4,64", help="Kafka partitions, with commas")
            add("--seconds", type=float, default=60.0, help="that are measured (default: %(default)s)")
        elif name == "restart":
            add("--partitions", type=_numbers, default="4,64", help="Kafka partitions, with commas")
            add(
                "--snapshots", type=_numbers, default="0,100,10000", help="that the table has, with commas; 0: no table"
            )
            add("--repeat", type=int, default=3, help="starts of each (default: %(default)s)")
        elif name == "catch-up":
            add("--partitions", type=int, default=4, help="Kafka partitions (default: %(default)s)")
            add("--messages", type=int, default=5_000_000, help="that wait (default: %(default)s)")
        else:
            add("--minutes", type=float, default=20.0, help="how long (default: %(default)s)")
            add("--rate", type=int, default=20_000, help="messages a second (default: %(default)s)")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _changes(options: argparse.Namespace) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in options.set)


# Freshness


@dataclass(frozen=True)
class Fresh:
    """From produced (Kafka's time) to readable."""

    rate: int
    window_s: int
    rows: int
    p50_s: float
    p99_s: float
    max_s: float
    cpu_share: float
    """Of one core."""
    commits: int


def freshness(scene: Scene, options: argparse.Namespace) -> list[Fresh]:
    return [_fresh(scene, options, rate, window_s) for rate in options.rates for window_s in options.windows]


def _fresh(scene: Scene, options: argparse.Namespace, rate: int, window_s: int) -> Fresh:
    topic = f"fresh-{rate}-{window_s}"
    scene.topic(topic, options.partitions)
    settings = scene.settings(topic, NEPTUNE_WINDOW_S=str(window_s), **_changes(options))
    measured_s = max(60.0, window_s * options.windows_long)
    with Watch(settings) as watch, LogEnds(scene.bootstrap, topic, options.partitions) as ends:
        with scene.neptune(settings) as neptune, load(scene.bootstrap, topic, rate):
            neptune.wait_for(lambda: watch.landed > 0, "the first rows", LAND_S_MAX)
            begin_s, begin_cpu_s = time.time(), cpu_s(neptune.pid)
            time.sleep(measured_s)
            end_s, end_cpu_s = time.time(), cpu_s(neptune.pid)
            commits = sum(begin_s <= s.time_s < end_s for s in watch.seen)
            produced = ends.messages()
            neptune.wait_for(lambda: watch.landed >= produced, "all of it is readable", LAND_S_MAX)
        fresh_s = watch.freshness_s(begin_s, end_s)
    p50_s, p99_s, max_s = (round(float(np.quantile(fresh_s, q)), 2) for q in (0.5, 0.99, 1))
    share = round((end_cpu_s - begin_cpu_s) / measured_s, 3)
    return Fresh(rate, window_s, len(fresh_s), p50_s, p99_s, max_s, share, commits)


# Idle


@dataclass(frozen=True)
class Idle:
    """An empty topic."""

    partitions: int
    cpu_share: float
    """Of one core."""


def idle(scene: Scene, options: argparse.Namespace) -> list[Idle]:
    return [_idle(scene, options, partitions) for partitions in options.partitions]


def _idle(scene: Scene, options: argparse.Namespace, partitions: int) -> Idle:
    topic = f"idle-{partitions}"
    scene.topic(topic, partitions)
    with scene.neptune(scene.settings(topic, **_changes(options))) as neptune:
        neptune.wait_event("committed")
        time.sleep(5)  # what the start leaves behind
        begin_s, begin_cpu_s = time.monotonic(), cpu_s(neptune.pid)
        time.sleep(options.seconds)
        share = (cpu_s(neptune.pid) - begin_cpu_s) / (time.monotonic() - begin_s)
    return Idle(partitions, round(share, 4))


# Restart


@dataclass(frozen=True)
class Restart:
    """From the start of the process, a backlog waiting."""

    partitions: int
    snapshots: int
    started_s: float
    """Tables and ledgers are read."""
    first_rows_s: float
    """The first commit with rows has landed."""
    cpu_s: float
    """Of the process, until then."""


def restart(scene: Scene, options: argparse.Namespace) -> list[Restart]:
    return [
        run
        for partitions in options.partitions
        for snapshots in options.snapshots
        for run in _restarts(scene, options, partitions, snapshots)
    ]


def _restarts(scene: Scene, options: argparse.Namespace, partitions: int, snapshots: int) -> Iterator[Restart]:
    for number in range(options.repeat):
        topic = f"restart-{partitions}-{snapshots}" + ("" if snapshots else f"-{number}")
        settings = scene.settings(topic, NEPTUNE_SNAPSHOTS_MAX=str(max(snapshots, 2)), **_changes(options))
        if number == 0 or not snapshots:
            scene.topic(topic, partitions)
        if number == 0 and snapshots:
            with scene.neptune(settings) as neptune:
                neptune.wait_event("committed")
            history.lengthen(settings, snapshots)
        fill(scene.bootstrap, topic, 100_000, partitions, timedelta(minutes=10))
        yield _start(scene, settings, partitions, snapshots)


def _start(scene: Scene, settings: Mapping[str, str], partitions: int, snapshots: int) -> Restart:
    begin_s = time.monotonic()
    with scene.neptune(settings) as neptune:
        neptune.wait_event("started")
        started_s = time.monotonic() - begin_s
        neptune.wait_for(lambda: neptune.total("rows") > 0, "the first rows")
        took_s, took_cpu_s = time.monotonic() - begin_s, cpu_s(neptune.pid)
    return Restart(partitions, snapshots, round(started_s, 2), round(took_s, 2), round(took_cpu_s, 2))


# Catch-up


@dataclass(frozen=True)
class CatchUp:
    """A backlog, landed."""

    span_minutes: float
    """Of event time, over which the messages are spread."""
    messages: int
    wall_s: float
    cpu_s: float
    commits: int
    files: int


def catch_up(scene: Scene, options: argparse.Namespace) -> list[CatchUp]:
    return [_catch_up(scene, options, span) for span in (timedelta(seconds=30), timedelta(hours=1))]


def _catch_up(scene: Scene, options: argparse.Namespace, span: timedelta) -> CatchUp:
    topic = f"catch-up-{span.seconds}"
    scene.topic(topic, options.partitions)
    fill(scene.bootstrap, topic, options.messages, options.partitions, span)
    settings = scene.settings(topic, **_changes(options))
    begin_s = time.monotonic()
    with scene.neptune(settings) as neptune:
        neptune.wait_for(lambda: neptune.total("rows") >= options.messages, "all has landed", LAND_S_MAX)
        wall_s, took_cpu_s = time.monotonic() - begin_s, cpu_s(neptune.pid)
    return CatchUp(
        span.total_seconds() / 60,
        options.messages,
        round(wall_s, 1),
        round(took_cpu_s, 1),
        len(neptune.events("committed")),
        neptune.total("files"),
    )


# Soak


@dataclass(frozen=True)
class Sample:
    """One second of a soak."""

    time_s: float
    rss_mib: float
    cpu_share: float
    lag: int
    """Messages in the topic that are not readable yet."""
    readable_per_s: float
    commit_ms: float | None
    """Of the commits in this second, the slowest: files, quarantine and table."""


def soak(scene: Scene, options: argparse.Namespace) -> list[Sample]:
    topic = "soak"
    scene.topic(topic, options.partitions)
    settings = scene.settings(topic, **_changes(options))
    with Watch(settings) as watch, LogEnds(scene.bootstrap, topic, options.partitions) as ends:
        with scene.neptune(settings) as neptune:
            with load(scene.bootstrap, topic, options.rate):
                samples = list(_samples(neptune, watch, ends, options.minutes * 60))
            produced = ends.messages()
            neptune.wait_for(lambda: watch.landed >= produced, "all of it is readable", LAND_S_MAX)
        verify = Neptune(settings, scene.scratch / "verify.log", ["-m", "neptune_flow", "verify"])
        assert verify.wait(LAND_S_MAX) == 0, verify.tail()
        print(verify.text())
    _draw(samples)
    return samples


def _samples(neptune: Neptune, watch: Watch, ends: LogEnds, length_s: float) -> Iterator[Sample]:
    process = psutil.Process(neptune.pid)
    begin_s = before_s = time.monotonic()
    before_cpu_s, before_landed, before_commits = cpu_s(neptune.pid), 0, 0
    while before_s - begin_s < length_s:
        time.sleep(SAMPLE_INTERVAL_S)
        assert neptune.exit_code is None, neptune.tail()
        now_s, now_cpu_s, landed = time.monotonic(), cpu_s(neptune.pid), watch.landed
        commits = neptune.events("committed")
        durations = [c["write_ms"] + c["quarantine_ms"] + c["commit_ms"] for c in commits[before_commits:]]
        yield Sample(
            round(now_s - begin_s, 1),
            round(process.memory_info().rss / 2**20, 1),
            round((now_cpu_s - before_cpu_s) / (now_s - before_s), 3),
            ends.messages() - landed,
            round((landed - before_landed) / (now_s - before_s)),
            max(durations, default=None),
        )
        before_s, before_cpu_s, before_landed, before_commits = now_s, now_cpu_s, landed, len(commits)


def _draw(samples: list[Sample]) -> None:
    minutes = [s.time_s / 60 for s in samples]
    commits = [(m, s.commit_ms) for m, s in zip(minutes, samples, strict=True) if s.commit_ms is not None]
    lines = {
        "Memory, MiB resident": zip(minutes, (s.rss_mib for s in samples), strict=True),
        "Processor, share of a core": zip(minutes, (s.cpu_share for s in samples), strict=True),
        "Messages that are not readable yet": zip(minutes, (s.lag for s in samples), strict=True),
        "Time of a commit, ms": commits,
    }
    charts = [figure.line_chart(title, "minutes", {"": list(points)}) for title, points in lines.items()]
    placed = [chart.replace("<svg ", f'<svg y="{n * figure.HEIGHT}" ', 1) for n, chart in enumerate(charts)]
    size = f'width="{figure.WIDTH}" height="{len(charts) * figure.HEIGHT}"'
    save_figure("soak", "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *placed, "</svg>", ""]))


def _soak_summary(samples: list[Sample]) -> dict[str, float]:
    """Growth is that of a straight line through the samples after WARM_UP_S."""
    late = [s for s in samples if s.time_s > WARM_UP_S] or samples
    slope = np.polyfit([s.time_s / 60 for s in late], [s.rss_mib for s in late], 1)[0]
    commits = [s.commit_ms for s in samples if s.commit_ms is not None]
    early = [s.rss_mib for s in samples if s.time_s <= WARM_UP_S]
    return {
        "rss_mib_max_before": max(early),
        "rss_mib_max_after": max(s.rss_mib for s in late),
        "rss_mib_per_minute_after": round(float(slope), 3),
        "cpu_share": round(float(np.mean([s.cpu_share for s in late])), 3),
        "lag_max": max(s.lag for s in late),
        "commit_ms_p50": round(float(np.median(commits)), 1),
        "commit_ms_p99": round(float(np.quantile(commits, 0.99)), 1),
    }


COMMANDS: dict[str, Callable[[Scene, argparse.Namespace], list[Any]]] = {
    "freshness": freshness,
    "idle": idle,
    "restart": restart,
    "catch-up": catch_up,
    "soak": soak,
}


def _report(options: argparse.Namespace, rows: list[Any]) -> None:
    runs = [asdict(row) for row in rows]
    summary = _soak_summary(rows) if options.command == "soak" else {}
    table: list[dict[str, Any]] = [summary] if summary else runs
    print("| " + " | ".join(table[0]) + " |")
    print("| " + " | ".join("---" for _ in table[0]) + " |")
    for row in table:
        print("| " + " | ".join(f"{value:,}" for value in row.values()) + " |")
    document = {"options": vars(options), "cores": os.cpu_count(), "summary": summary, "runs": runs}
    save(f"live-{options.command}", document)


if __name__ == "__main__":
    main()
