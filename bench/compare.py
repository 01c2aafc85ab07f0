"""Neptune beside a bare loop and the naive loop: the same topic, the same servers, one run, as ratios.

    python -m bench.compare --messages 4000000 --repeat 3
    python -m bench.compare --workload clean rejects-1 rejects-50 commas escapes --contenders bare neptune

Fills topics on a real Kafka (`bench.workloads`), then lets each contender land each of them in a fresh table on real S3, in turn, as often as
asked. Rows per CPU second of the process (user and system, start and imports included: let it run for long) are the fair measure; a ratio
compares medians. Prints a table for each workload and writes bench/results/compare.json. What the loops do, and do not do, is in `bench.loops`.
"""

from __future__ import annotations

import argparse
import os
import platform as machine
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from bench.listening import listening
from bench.output import save
from bench.running import Cost, run_loop, run_neptune
from bench.workloads import WORKLOADS, Workload, fill
from tests.services.servers import KafkaCluster, Platform


@dataclass(frozen=True)
class Setup:
    """How a Neptune runs; by default both system columns are on."""

    settings: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    processes: int = 1
    in_group: bool = False
    telemetry: bool = False
    """Metrics scraped and pushed, traces, health and page; the others have none of them."""


NEPTUNE = {
    "neptune": Setup(),
    "no-system-columns": Setup({"NEPTUNE_KAFKA_COLUMNS": "false", "NEPTUNE_EXTRA_COLUMN": "false"}),
    "telemetry": Setup(telemetry=True),
    "two-workers": Setup(workers=2),
    "two-processes": Setup(processes=2),
    "one-member": Setup(in_group=True),
    "two-members": Setup(processes=2, in_group=True),
}
CONTENDERS = ("bare", *NEPTUNE, "naive")
USUAL = ("bare", "neptune", "no-system-columns", "naive")
NAIVE_SHARE = 8
"""The naive loop lands so many times fewer messages: it is slow, and even over its whole length."""


@dataclass(frozen=True)
class Result:
    """One contender's run."""

    workload: str
    contender: str
    cost: Cost


def main() -> None:
    options = _options()
    results: list[Result] = []
    kafka = KafkaCluster(jvm_options=["-XX:TieredStopAtLevel=4"])
    with Platform(kafka) as servers, tempfile.TemporaryDirectory() as scratch:
        servers.storage.create_bucket(servers.bucket)
        means = {name: _fill(servers, WORKLOADS[name], options) / options.messages for name in options.workload}
        for number in range(options.repeat):
            for name in options.workload:
                results += _round(servers, WORKLOADS[name], options, Path(scratch), number)
                print(f"repetition {number + 1} of {options.repeat}: {name} is done", file=sys.stderr)
    report(options, means, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=4_000_000, help="messages in each topic (default: %(default)s)")
    parser.add_argument(
        "--workload", nargs="+", choices=WORKLOADS, default=["clean"], help="see bench.workloads (default: clean)"
    )
    parser.add_argument("--partitions", type=int, default=4, help="Kafka partitions (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=USUAL, help=f"who runs (default: {' '.join(USUAL)})"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting for Neptune")
    return parser.parse_args()


def _partitions(workload: Workload, options: argparse.Namespace) -> int:
    partitions: int = workload.partitions or options.partitions
    return partitions


def _fill(servers: Platform, workload: Workload, options: argparse.Namespace) -> int:
    """The workload's topic has its name; returns the bytes of all values."""
    partitions = _partitions(workload, options)
    servers.kafka.create_topic(workload.name, partitions=partitions)
    return fill(servers.kafka.bootstrap, workload.name, workload, options.messages, partitions)


def _round(
    servers: Platform, workload: Workload, options: argparse.Namespace, scratch: Path, number: int
) -> Iterator[Result]:
    """One run of each contender that can read the workload."""
    asked = dict(pair.split("=", 1) for pair in options.set)
    for contender in options.contenders:
        table = f"{workload.name}_{contender}_{number}".replace("-", "_")
        if contender in NEPTUNE:
            setup = NEPTUNE[contender]
            listens: AbstractContextManager[dict[str, str]] = listening() if setup.telemetry else nullcontext({})
            with listens as more:
                settings = {**setup.settings, **more, **asked}
                cost = run_neptune(
                    servers,
                    workload,
                    table,
                    options.messages,
                    settings,
                    scratch,
                    workers=setup.workers,
                    processes=setup.processes,
                    in_group=setup.in_group,
                )
        elif contender == "bare" and workload.bare_can_read:
            cost = run_loop(servers, "bare", workload, table, options.messages)
        elif contender == "naive" and workload.name == "clean":
            cost = run_loop(servers, "naive", workload, table, options.messages // NAIVE_SHARE)
        else:
            continue
        yield Result(workload.name, contender, cost)


def report(options: argparse.Namespace, mean_bytes: Mapping[str, float], results: list[Result]) -> None:
    """Print a table for each workload and write the result file."""
    print(
        f"\n{options.messages:,} messages a topic, lz4, {options.repeat} runs each; "
        f"{os.cpu_count()} cores, Python {machine.python_version()}"
    )
    runs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    for result in results:
        runs[result.workload, result.contender].append(result.cost)
    for workload in options.workload:
        partitions = _partitions(WORKLOADS[workload], options)
        print(f"\n**{workload}**, {mean_bytes[workload]:.0f} bytes on average, {partitions} partitions\n")
        print(
            "| | rows/CPU s | least to most | of bare | of clean | rows/s | peak MiB | commits | Kafka CPU s | storage CPU s |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for contender in options.contenders:
            if costs := runs[workload, contender]:
                print(_line(contender, costs, runs[workload, "bare"], runs["clean", contender]))
    document = {"options": vars(options), "mean_bytes": mean_bytes, "results": [asdict(r) for r in results]}
    save("compare", document)


def _line(contender: str, costs: list[Cost], bare: list[Cost], clean: list[Cost]) -> str:
    speeds = [c.rows_per_cpu_s for c in costs]
    return (
        f"| {contender} | {median(speeds):,.0f} | {min(speeds):,.0f} to {max(speeds):,.0f} "
        f"| {_ratio(costs, bare)} | {_ratio(costs, clean)} "
        f"| {median(c.rows_per_wall_s for c in costs):,.0f} | {max(c.rss_peak_mib for c in costs):.0f} "
        f"| {median(c.commits for c in costs):.0f} | {median(c.kafka_cpu_s for c in costs):.1f} "
        f"| {median(c.storage_cpu_s for c in costs):.1f} |"
    )


def _ratio(costs: list[Cost], others: list[Cost]) -> str:
    if not others:
        return ""
    return f"{median(c.rows_per_cpu_s for c in costs) / median(c.rows_per_cpu_s for c in others):.2f}"


if __name__ == "__main__":
    main()
