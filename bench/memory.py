"""Peak memory of one Neptune process by the size of messages, the share of rejects, the Kafka partitions and the length of windows, on real Kafka and S3.

    python -m bench.memory
    python -m bench.memory --sizes 900000 --shares 0,1 --set NEPTUNE_VALUE_BYTES_MAX=2MiB
    python -m bench.memory --sizes 100,500 --shares 0 --partitions 1,4,64 --windows 1,60,86400

Each cell of the table is one topic that waits in Kafka when Neptune starts, landed to its end as fast as it can into tables of its own; the figure is the kernel's
own high-water mark of the process (`VmHWM`, Linux). A message has its size by one long text that the contract does not name; a bad one has a text for a latitude
as well. The texts are random, so that no codec makes them small; `--compressible` makes them all alike, so that a fetch unpacks to many times its size.
A size above NEPTUNE_VALUE_BYTES_MAX is a reject whatever it holds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, product
from pathlib import Path

from bench.output import save
from bench.producing import Filling
from neptune_flow.simulator import Fleet
from tests.services.neptune import OWN_COMMAND, Neptune
from tests.services.servers import KafkaCluster, Platform

SEED = 7
MESSAGE_BYTES_MAX = 64 << 20
"""The topics take messages up to this size."""
POOL_BYTES = 32_000_000
"""Different messages of one cell; then they come again."""
MESSAGES_MAX = 1_000_000
"""Of one cell: more small messages would only take longer."""
LAND_S_MAX = 900.0


@dataclass(frozen=True)
class Cell:
    """One topic, landed."""

    size: int
    reject_share: float
    partitions: int
    window_s: int
    messages: int
    rows: int
    rejects: int
    files: int
    peak_mib: float
    wall_s: float


def main() -> None:
    options = _options()
    limit = str(2 * MESSAGE_BYTES_MAX)
    kafka = KafkaCluster(properties={"message.max.bytes": limit, "replica.fetch.max.bytes": limit})
    with Platform(kafka) as servers, tempfile.TemporaryDirectory() as scratch:
        servers.storage.create_bucket(servers.bucket)
        kinds = product(options.sizes, options.shares, options.partitions, options.windows)
        cells = [measure(servers, options, *kind, Path(scratch)) for kind in kinds]
    report(options, cells)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sizes", type=_integers, default="100,500,5000,50000,200000,900000", help="bytes of a value, with commas")
    add("--shares", type=_shares, default="0,0.5,1", help="shares of rejects, with commas")
    add("--total-bytes", type=int, default=600_000_000, help="values of one cell together (default: %(default)s)")
    add("--partitions", type=_integers, default="4", help="Kafka partitions, with commas (default: %(default)s)")
    add(
        "--windows",
        type=_integers,
        default="60",
        help="lengths of windows, seconds, with commas (default: %(default)s)",
    )
    add("--compressible", action="store_true", help="texts that compress to almost nothing")
    add("--codec", default="lz4", help="of the producer (default: %(default)s)")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting for Neptune")
    return parser.parse_args()


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _shares(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def measure(
    servers: Platform,
    options: argparse.Namespace,
    size: int,
    share: float,
    partitions: int,
    window_s: int,
    scratch: Path,
) -> Cell:
    """Fill a topic, land it, and drop it."""
    name = f"memory_{size}_{round(share * 100)}_{partitions}_{window_s}"
    messages = max(1, min(options.total_bytes // size, MESSAGES_MAX))
    fill(servers, options, name, partitions, messages, pool_of(size, share, compressible=options.compressible))
    settings = {
        **servers.settings(),
        "KAFKA_TOPIC": name,
        "ICEBERG_TABLE": name,
        "NEPTUNE_LOG_FORMAT": "json",
        "NEPTUNE_WINDOW_S": str(window_s),
        **dict(pair.split("=", 1) for pair in options.set),
    }
    began_s = time.monotonic()
    neptune = Neptune(settings, scratch / f"{name}.log", OWN_COMMAND)
    try:
        neptune.wait_for(
            lambda: neptune.total("rows") + neptune.total("rejects") >= messages, "all has landed", LAND_S_MAX
        )
        wall_s = time.monotonic() - began_s
        peak_bytes = vm_hwm_bytes(neptune.pid)
        code = neptune.terminate()
    finally:
        if neptune.exit_code is None:
            neptune.kill()
    assert code == 0, neptune.tail()
    servers.kafka.delete_topic(name)
    cell = Cell(
        size=size,
        reject_share=share,
        partitions=partitions,
        window_s=window_s,
        messages=messages,
        rows=neptune.total("rows"),
        rejects=neptune.total("rejects"),
        files=neptune.total("files"),
        peak_mib=round(peak_bytes / 2**20, 1),
        wall_s=round(wall_s, 1),
    )
    print(cell, file=sys.stderr, flush=True)
    return cell


def vm_hwm_bytes(pid: int) -> int:
    """The most that the process has had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def pool_of(size: int, share: float, *, compressible: bool) -> list[bytes]:
    """Different messages of about this size; so many of a hundred are bad."""
    rng = random.Random(SEED)
    fleet = Fleet(SEED, start=datetime.now(UTC) - timedelta(hours=6), vehicles=2000, interval_s=20.0, bad_share=0.0)
    count = max(100, min(POOL_BYTES // size, MESSAGES_MAX) // 100 * 100)
    return [
        _sized(message.value or b"", size, bad=number % 100 < share * 100, rng=None if compressible else rng)
        for number, message in enumerate(islice(fleet, count))
    ]


def _sized(value: bytes, size: int, *, bad: bool, rng: random.Random | None) -> bytes:
    event = json.loads(value)
    if bad:
        event["start_lat"] = "north"
    missing = size - len(json.dumps(event)) - len(', "note": ""')
    if missing > 0:
        event["note"] = rng.randbytes(missing // 2 + 1).hex()[:missing] if rng else "x" * missing
    elif bad:
        return json.dumps(event).encode()[:size]
    return json.dumps(event).encode()


def fill(
    servers: Platform, options: argparse.Namespace, topic: str, partitions: int, messages: int, pool: list[bytes]
) -> None:
    """Produce the pool over and over."""
    config = {"max.message.bytes": str(MESSAGE_BYTES_MAX), "retention.ms": "-1"}
    servers.kafka.create_topic(topic, partitions, config=config)
    limits = {
        "compression.type": options.codec,
        "message.max.bytes": MESSAGE_BYTES_MAX,
        "queue.buffering.max.kbytes": 1 << 18,
    }
    values = ((b"key", value) for value in islice(cycle(pool), messages))
    Filling(servers.kafka.bootstrap, topic, limits).send_in_turns(values, partitions)


def report(options: argparse.Namespace, cells: list[Cell]) -> None:
    """Print the table, and write bench/results/memory.json."""
    print(f"\npeak MiB (seed {SEED}, settings {options.set or 'by default'})\n")
    print("| bytes of a message | rejects | partitions | window s | messages | files | wall s | peak MiB |")
    print("| --- " * 8 + "|")
    for c in cells:
        print(
            f"| {c.size:,} | {c.reject_share:.0%} | {c.partitions} | {c.window_s:,} | {c.messages:,} | {c.files} | {c.wall_s} | {c.peak_mib:.0f} |"
        )
    save("memory", {"options": vars(options), "cells": [asdict(cell) for cell in cells]})


if __name__ == "__main__":
    main()
