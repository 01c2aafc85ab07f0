"""What a commit costs after ten thousand others: time by phase, what it leaves in metadata, and what it asks of storage and catalog.

    python -m bench.commits --catalog rest [--commits 10000] [--partitions 4] [--rows 10]

Commits as the flow does (see `bench.committing`), as fast as it goes, to the real Iceberg REST catalog on MinIO, or (`--catalog local`) to SQLite
beside a folder. Then the table that is old by now and young ones, at their 50th to 150th commit, take turns: both meet the same machine, so
their ratio is honest even where other work disturbs the timing. With `rest`, further tables are asked through counting proxies, in a run of their own
that is not timed. Last, the old table is opened as a start does, and as a whole Neptune with Kafka does (`--start`).

Writes bench/results/commits-CATALOG-PARTITIONS.json and, for 4 partitions on the REST catalog, docs/figures/commit-time.svg.
"""

from __future__ import annotations

import argparse
import os
import platform as machine
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import figure, workloads
from bench.committing import NAMESPACE, TOPIC, Commit, Lane, World, counted, local, rest
from bench.output import save, save_figure
from neptune_flow.iceberg.mending import MendableTable
from neptune_flow.process import spare_the_collector
from neptune_flow.telemetry import configure_logging
from tests.services.neptune import OWN_COMMAND, Neptune
from tests.services.servers import KafkaCluster

YOUNG = range(50, 150)
"""The commits of a table that stand for the 100th."""
TURNS = 5
"""Young tables that take turns with the old one."""
COUNTED_AFTER, COUNTED = 128, 256
"""Requests are counted over so many commits, after so many: expiry goes on by then, and sixteen merges fall into them."""
SIZE_EVERY = 100
START_MESSAGES = 40_000
"""Beyond what the ledger has taken, for the start to land."""
OLD = "old"


@dataclass(frozen=True)
class Size:
    """What a commit left."""

    number: int
    metadata_bytes: int
    manifest_list_bytes: int
    manifests: int
    snapshots: int


def main() -> None:
    options = _options()
    configure_logging("ERROR")
    spare_the_collector()
    result: dict[str, Any] = {"options": vars(options), "machine": f"{machine.machine()}, {os.cpu_count()} cores"}
    with tempfile.TemporaryDirectory() as folder:
        with rest() if options.catalog == "rest" else local(Path(folder)) as world:
            result |= _timed(world, options)
        if options.catalog == "rest":
            result["requests"] = {
                "small commits": _requests(options, bad_share=0.0),
                "with rejects in each": _requests(options, bad_share=0.2),
            }
    _print(result)
    save(f"commits-{options.catalog}-{options.partitions}", result)
    if options.catalog == "rest" and options.partitions == 4:
        _draw(result)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.commits", description=__doc__.splitlines()[0])
    parser.add_argument("--commits", type=int, default=10_000, help="of the old table (default: %(default)s)")
    parser.add_argument("--catalog", choices=("rest", "local"), default="rest", help="(default: %(default)s)")
    parser.add_argument(
        "--partitions", type=int, default=4, help="Kafka partitions in each commit (default: %(default)s)"
    )
    parser.add_argument(
        "--rows", type=int, default=10, help="rows of each partition in a commit (default: %(default)s)"
    )
    parser.add_argument("--start", action="store_true", help="also start Neptune on the old table (needs rest)")
    return parser.parse_args()


# Timing


def _timed(world: World, options: argparse.Namespace) -> dict[str, Any]:
    began_s, servers_s = time.monotonic(), world.servers_cpu_s()
    old = Lane(world.lake(), OLD, options.partitions, options.rows)
    commits: list[Commit] = []
    sizes: list[Size] = []
    while old.commits < options.commits:
        commits.append(_one(old))
        if old.commits % SIZE_EVERY == 0:
            sizes.append(_size(old, commits[-1]))
    wall_s = time.monotonic() - began_s
    servers = {name: round((s - servers_s[name]) / len(commits) * 1000, 1) for name, s in world.servers_cpu_s().items()}
    young, aged = _turns(world, options, old)
    result = {
        "wall_s": round(wall_s),
        "servers_cpu_ms_per_commit": servers,
        "windows": {f"{w[0].number}–{w[-1].number}": _summary(w) for w in _windows(commits)},
        "turns": {"50–150": _summary(young), f"{aged[0].number}–{aged[-1].number}": _summary(aged)},
        "ratio": {of: round(_share(aged, of, 99) / _share(young, of, 99), 2) for of in ("total_ms", "cpu_ms")},
        "sizes": [asdict(s) for s in sizes],
        "opening_ms": _opening(world),
        "total_ms": [c.total_ms for c in commits],
    }
    return result | ({"start_s": _start(world, options, old)} if options.start else {})


def _one(lane: Lane) -> Commit:
    commit = lane.commit()
    assert commit.files <= commit.days, f"a small commit wrote {commit.files} data files of {commit.days} days"
    return commit


def _size(lane: Lane, commit: Commit) -> Size:
    metadata, listed = lane.size_bytes(commit.metadata_location), lane.size_bytes(commit.manifest_list)
    return Size(commit.number, metadata, listed, commit.manifests, commit.snapshots)


def _turns(world: World, options: argparse.Namespace, old: Lane) -> tuple[list[Commit], list[Commit]]:
    young: list[Commit] = []
    aged: list[Commit] = []
    for turn in range(TURNS):
        lane = Lane(world.lake(), f"young_{turn}", options.partitions, options.rows)
        for _ in range(YOUNG.start):
            _one(lane)
        for _ in YOUNG:
            young.append(_one(lane))
            aged.append(_one(old))
    return young, aged


def _windows(commits: Sequence[Commit]) -> list[Sequence[Commit]]:
    """Around the 100th, the 1,000th, and up to the last."""
    ends = [(50, 150), (750, 1250), (len(commits) - 500, len(commits))]
    return [commits[begin:end] for begin, end in ends if 0 <= begin < end <= len(commits)]


def _summary(commits: Sequence[Commit]) -> dict[str, Any]:
    fields = ("total_ms", "files_ms", "manifests_ms", "catalog_ms", "cpu_ms")
    shares = {f: {f"p{s}": round(_share(commits, f, s), 1) for s in (50, 99)} for f in fields}
    return {
        **shares,
        "manifests_max": max(c.manifests for c in commits),
        "snapshots_max": max(c.snapshots for c in commits),
    }


def _share(commits: Sequence[Commit], field: str, share: int) -> float:
    return float(np.percentile([getattr(c, field) for c in commits], share))


# Opening


def _opening(world: World) -> dict[str, float]:
    """What a start asks of the old table, the median of five; the catalog's client is made anew each time."""
    steps: dict[str, list[float]] = {"open the catalog": [], "find_table": [], "read_ledger": [], "survey": []}
    for _ in range(5):
        times = [time.perf_counter()]
        lake = world.lake()
        times.append(time.perf_counter())
        table = lake.find_table(NAMESPACE, OLD)
        assert table
        times.append(time.perf_counter())
        table.read_ledger()
        times.append(time.perf_counter())
        MendableTable(table).survey()
        times.append(time.perf_counter())
        for took, (begin, end) in zip(steps.values(), pairwise(times), strict=True):
            took.append((end - begin) * 1000)
    return {name: round(median(took), 1) for name, took in steps.items()}


def _start(world: World, options: argparse.Namespace, old: Lane) -> dict[str, float]:
    """From the start of the process to the first commit with a row, on a topic of which the old table has taken what it has."""
    taken = old.commits * options.rows * options.partitions
    workload = workloads.WORKLOADS["clean"]
    with KafkaCluster() as kafka, tempfile.TemporaryDirectory() as folder:
        kafka.create_topic(TOPIC, partitions=options.partitions)
        workloads.fill(kafka.bootstrap, TOPIC, workload, taken + START_MESSAGES, options.partitions)
        settings = {**world.settings(), "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "KAFKA_TOPIC": TOPIC}
        settings |= {"ICEBERG_TABLE": OLD, "NEPTUNE_LOG_FORMAT": "json"}
        began_s = time.monotonic()
        neptune = Neptune(settings, Path(folder) / "neptune.log", OWN_COMMAND)
        try:
            neptune.wait_event("started")
            started_s = time.monotonic() - began_s
            neptune.wait_for(lambda: any(e["rows"] for e in neptune.events("committed")), "a row is committed")
            return {"ledgers read": round(started_s, 2), "first row committed": round(time.monotonic() - began_s, 2)}
        finally:
            neptune.terminate()


# Requests


def _requests(options: argparse.Namespace, bad_share: float) -> dict[str, dict[str, float]]:
    """Requests per commit, by who asks whom, method and object."""
    with counted() as (world, counters):
        lane = Lane(world.lake(), "counted", options.partitions, options.rows, bad_share)
        for _ in range(COUNTED_AFTER):
            _one(lane)
        for counter in counters.values():
            counter.take()
        for _ in range(COUNTED):
            _one(lane)
        return {who: _per_commit(counter.take()) for who, counter in counters.items()}


def _per_commit(counts: Counter[str]) -> dict[str, float]:
    return {asked: round(count / COUNTED, 3) for asked, count in sorted(counts.items())}


# Report


def _print(result: dict[str, Any]) -> None:
    options = result["options"]
    print(
        f"\n{options['commits']:,} commits, {options['catalog']}, {options['partitions']} partitions; {result['machine']}\n"
    )
    print("| commits | p50 ms | p99 ms | files p50 | manifests p50 | catalog p50 | CPU p50 | CPU p99 | manifests |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    turns = {f"{name}, in turns": window for name, window in result["turns"].items()}
    for name, w in {**result["windows"], **turns}.items():
        phases = " | ".join(str(w[f]["p50"]) for f in ("files_ms", "manifests_ms", "catalog_ms", "cpu_ms"))
        print(
            f"| {name} | {w['total_ms']['p50']} | {w['total_ms']['p99']} | {phases} | {w['cpu_ms']['p99']} | {w['manifests_max']} |"
        )
    print(f"\np99 of the old table to that of the young ones: {result['ratio']}")
    print(f"CPU of the servers, ms per commit: {result['servers_cpu_ms_per_commit']}")
    for size in (s for s in result["sizes"] if s["number"] in (100, 1000, options["commits"])):
        print(f"after commit {size['number']:,}: {size}")
    print(f"opening the old table, ms: {result['opening_ms']}")
    if "start_s" in result:
        print(f"start on the old table, s: {result['start_s']}")
    for title, whos in result.get("requests", {}).items():
        print(f"\nrequests per commit, {title}:")
        for who, counts in whos.items():
            print("\n".join(f"  {who}: {asked} {count}" for asked, count in counts.items()))


def _draw(result: dict[str, Any]) -> None:
    took = np.array(result["total_ms"])
    edges = range(0, len(took) - 99, 100)
    lines = {
        f"p{share}": [(e + 100, float(np.percentile(took[e : e + 100], share))) for e in edges] for share in (50, 99)
    }
    title = "Time of a commit, ms, over a hundred each"
    save_figure("commit-time", figure.line_chart(title, "commits to the table", lines))


if __name__ == "__main__":
    main()
