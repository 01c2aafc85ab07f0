"""Many Neptunes that share a topic commit to one table: does each get its turn, and what does a commit cost in the crowd?

    python -m bench.fairness --writers 16 --minutes 5

As many members of a consumer group as the topic has partitions, one each, on real Kafka, object storage and REST catalog of this machine. Their windows close at
the same moment, every INTERVAL_S by the clock, so that all want to commit at once: the worst that a group can meet. Counted is from the moment on at which each has
committed. A writer is starved where it lets more than STARVED_INTERVALS of them pass without a commit. At the end `verify` must find the tables whole. Prints the table and
writes bench/results/fairness.json.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.load import load
from bench.output import ROOT, save
from bench.running import MEMBER
from tests.services.neptune import Event, Neptune, inherited, wait_for
from tests.services.servers import Platform

INTERVAL_S = 10.0
"""Length of a window, and so about the time between two commits of a writer."""
STARVED_INTERVALS = 3
START_S_MAX = 600.0
DRAIN_S_MAX = 120.0
TOPIC = "fairness"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=16, help="members, and Kafka partitions (16)")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to count (5)")
    parser.add_argument("--rate", type=float, default=5.0, help="messages a second for each writer (5)")
    options = parser.parse_args()
    with Platform() as servers, tempfile.TemporaryDirectory() as scratch:
        servers.storage.create_bucket(servers.bucket)
        servers.kafka.create_topic(TOPIC, options.writers, config={"retention.ms": "-1"})
        result = _measure(servers, Path(scratch), options)
    print(_table(result))
    save("fairness", result)
    if result["starved"] or not result["is_whole"] or any(result["exit_codes"]):
        sys.exit(1)


def _measure(servers: Platform, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    settings = {
        **servers.settings(),
        "KAFKA_TOPIC": TOPIC,
        "ICEBERG_TABLE": TOPIC,
        "NEPTUNE_WINDOW_S": str(INTERVAL_S),
        "NEPTUNE_ALLOWED_LATENESS_S": "0",
        "NEPTUNE_DRAIN_S_MAX": str(DRAIN_S_MAX),
        "NEPTUNE_START_WAIT_S_MAX": str(START_S_MAX),
    }
    with load(servers.kafka.bootstrap, TOPIC, options.rate * options.writers):
        writers = [Neptune(settings, scratch / f"{n}.log", MEMBER) for n in range(options.writers)]
        try:
            wait_for(lambda: all(_share(w) == 1 for w in writers), "a partition for each", START_S_MAX)
            since_s = time.time()
            wait_for(lambda: all(_commits(w, since_s) for w in writers), "a commit of each", START_S_MAX)
            since_s, load_before = time.time(), os.getloadavg()
            time.sleep(options.minutes * 60)
            until_s, load_after = time.time(), os.getloadavg()
            for writer in writers:
                assert writer.exit_code is None, writer.tail()
            counted = [_commits(w, since_s, until_s) for w in writers]
            for writer in writers:
                writer.send(signal.SIGTERM)
            codes = [w.wait(DRAIN_S_MAX + 60) for w in writers]
        finally:
            for writer in writers:
                if writer.exit_code is None:
                    writer.kill()
    verify = [sys.executable, "-m", "neptune_flow", "verify"]
    is_whole = subprocess.run(verify, cwd=ROOT, env={**inherited(), **settings}, check=False).returncode == 0
    machine = {"cores": os.cpu_count(), "load_average": [round(v, 1) for v in (load_before[0], load_after[0])]}
    return {
        "options": vars(options),
        **machine,
        **_summary(counted, since_s, until_s),
        "exit_codes": codes,
        "is_whole": is_whole,
    }


def _share(writer: Neptune) -> int:
    said = [e for e in writer.events() if e["event"] in ("partitions_assigned", "partitions_revoked")]
    return len(said[-1]["now"]) if said else 0


def _commits(writer: Neptune, since_s: float, until_s: float = float("inf")) -> list[Event]:
    return [e for e in writer.events("committed") if since_s <= _at_s(e) < until_s]


def _at_s(event: Event) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def _summary(counted: Sequence[Sequence[Event]], since_s: float, until_s: float) -> dict[str, Any]:
    counts = [len(commits) for commits in counted]
    all_ = [e for commits in counted for e in commits]
    took_s = [(e["write_ms"] + e["quarantine_ms"] + e["commit_ms"]) / 1000 for e in all_]
    gaps_s = [_longest_gap_s(commits, since_s, until_s) for commits in counted]
    return {
        "commits": len(all_),
        "commits_per_writer": {"least": min(counts), "median": median(counts), "most": max(counts)},
        "attempts_per_commit": round(float(np.mean([e["attempts"] for e in all_])), 2),
        "attempts_most": max(e["attempts"] for e in all_),
        "lost_races": sum(e["lost_races"] for e in all_),
        "commit_s": {name: round(float(np.quantile(took_s, q)), 2) for name, q in (("p50", 0.5), ("p99", 0.99))},
        "commit_s_most": round(max(took_s), 2),
        "longest_gap_s": round(max(gaps_s), 1),
        "starved": sum(gap_s > STARVED_INTERVALS * INTERVAL_S for gap_s in gaps_s),
    }


def _longest_gap_s(commits: Sequence[Event], since_s: float, until_s: float) -> float:
    """The longest time of one writer without a commit."""
    return max(b - a for a, b in pairwise([since_s, *(_at_s(e) for e in commits), until_s]))


def _table(result: dict[str, Any]) -> str:
    per, took = result["commits_per_writer"], result["commit_s"]
    head = (
        "writers",
        "minutes",
        "commits a writer: least, median, most",
        "attempts a commit: mean, most",
        "commit p50, p99, most",
        "longest gap",
        "starved",
        "load average",
    )
    row = (
        str(result["options"]["writers"]),
        f"{result['options']['minutes']:g}",
        f"{per['least']}, {per['median']:g}, {per['most']}",
        f"{result['attempts_per_commit']}, {result['attempts_most']}",
        f"{took['p50']} s, {took['p99']} s, {result['commit_s_most']} s",
        f"{result['longest_gap_s']} s",
        str(result["starved"]),
        " to ".join(map(str, result["load_average"])) + f" on {result['cores']} cores",
    )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), row))


if __name__ == "__main__":
    main()
