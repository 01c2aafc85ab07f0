"""`neptune verify` on a large synthetic table: rows per second and peak memory, as a child process has them.

    python -m bench.verify --rows 50000000

Makes, in a folder that is removed at the end, a SQLite catalog and a table whose rows have an id, a time and `_kafka` with a key, in files of
`--file-rows`, each of all Kafka partitions. Of the offsets the share `--gaps` is left out, drawn at random: a set of offsets is then at its
largest, since it has no long runs. Then it verifies the first quarter of the rows and all of them; what memory grows by between the two is what
a row costs, and the rest is what the process costs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from neptune_flow.iceberg import Lake, LakeTable
from neptune_flow.ledger import Ledger
from neptune_flow.protocol import Outcome
from neptune_flow.records import DataFile, Stretch
from neptune_flow.start import QUARANTINE_DAY
from neptune_flow.validation.rejects import REJECTS_SCHEMA

TOPIC, NAME, DAY = "sessions", "events", 19_675
KAFKA = pa.struct(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", "UTC")),
        pa.field("key", pa.binary()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("event_date", pa.date32(), nullable=False),
        pa.field("_kafka", KAFKA, nullable=False),
    ]
)
FILES_PER_COMMIT = 8


@dataclass(frozen=True)
class Cost:
    """What one verification cost."""

    rows: int
    wall_s: float
    cpu_s: float
    peak_mib: float


class Bench:
    """The table and what is verified on it."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._options = options
        self._random = np.random.default_rng(options.seed)
        self._properties = {
            "type": "sql",
            "uri": f"sqlite:///{folder}/catalog.db",
            "warehouse": f"file://{folder}/warehouse",
        }
        lake = Lake.open("lake", self._properties, request_timeout_s=30)
        self._table = lake.ensure_table(("default",), NAME, SCHEMA, day_column="event_date")
        self._quarantine = lake.ensure_table(
            ("default",), f"{NAME}_quarantine", REJECTS_SCHEMA, day_column=QUARANTINE_DAY
        )
        self._next = [0] * options.partitions
        self._rows = 0
        self._commits = 0

    def grow(self, rows: int) -> None:
        """Land rows until there are so many."""
        files: list[DataFile] = []
        stretches: list[Stretch] = []
        while self._rows < rows:
            batches = []
            for partition in range(self._options.partitions):
                stretch, batch = self._stretch(partition, self._options.file_rows // self._options.partitions)
                stretches.append(stretch)
                batches.append(batch)
            files.append(self._table.write_file(batches, DAY))
            if len(files) == FILES_PER_COMMIT:
                self._land(files, stretches)
                files, stretches = [], []
        self._land(files, stretches)

    def verify(self) -> Cost:
        """The command, in a process of its own."""
        environment = {
            "NEPTUNE_CATALOG_PROPERTIES": json.dumps(self._properties),
            "ICEBERG_CATALOG": "lake",
            "ICEBERG_TABLE": NAME,
            "KAFKA_TOPIC": TOPIC,
        }
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        with tempfile.TemporaryFile() as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "neptune_flow", "verify", "--no-kafka", "--json"],
                env={**os.environ, **environment},
                stdout=output,
            )
            peak_mib = _peak_mib(child)
            wall_s = time.monotonic() - began_s
            output.seek(0)
            report = json.load(output)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert report["whole"], report["faults"]
        assert report["tables"][0]["rows"] == self._rows
        return Cost(self._rows, wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak_mib)

    def _stretch(self, partition: int, rows: int) -> tuple[Stretch, pa.RecordBatch]:
        first = self._next[partition]
        steps = self._random.geometric(1 - self._options.gaps, rows)
        offsets = first + np.cumsum(steps) - 1
        end = int(offsets[-1]) + 1
        self._next[partition] = end
        self._rows += rows
        times = pa.array(DAY * 86_400_000_000 + offsets % 86_400_000_000, pa.timestamp("us", "UTC"))
        keys = _keys(self._random, rows)
        kafka = pa.StructArray.from_arrays(
            [
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([TOPIC])).cast(pa.string()),
                pa.array(np.full(rows, partition, np.int32)),
                pa.array(offsets),
                times,
                keys,
            ],
            fields=list(KAFKA),
        )
        ids = pa.array(np.char.mod("id-%d", offsets % 1000)) if rows else pa.array([], pa.string())
        day = pa.array(np.full(rows, DAY, np.int32)).cast(pa.date32())
        batch = pa.record_batch([ids, times, day, kafka], schema=SCHEMA)
        return Stretch(partition, first, end, row_count=rows, left_out=end - first - rows), batch

    def _land(self, files: list[DataFile], stretches: list[Stretch]) -> None:
        self._commits += 1
        commit = f"c{self._commits}"
        rejects = (self._quarantine.read_ledger() or Ledger(TOPIC, None)).advance_rejects(stretches, commit)
        _commit(self._quarantine, [], rejects, commit)
        rows = (self._table.read_ledger() or Ledger(TOPIC, None)).advance(stretches, commit)
        _commit(self._table, files, rows, commit)


def _peak_mib(child: subprocess.Popen[bytes]) -> float:
    """The kernel's own high-water mark (Linux), asked for until the child has ended."""
    peak_kib = 0
    while child.poll() is None:
        for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak_kib = int(line.split()[1])
        time.sleep(0.05)
    return peak_kib / 1024


def _commit(table: LakeTable, files: list[DataFile], ledger: Ledger, commit: str) -> None:
    done = table.attempt(table.look(), files, ledger, commit, {})
    assert done.outcome is Outcome.LANDED, done


def _keys(random: np.random.Generator, rows: int) -> pa.Array:
    """Keys of 16 random bytes: they do not compress, and must not be read."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), rows, [None, pa.py_buffer(random.bytes(rows * 16))]
    ).cast(pa.binary())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--file-rows", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--gaps", type=float, default=0.02, help="share of the offsets that are left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the table is made (default: the system's temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(Path(folder), options)
        bench.grow(options.rows // 4)
        small = bench.verify()
        bench.grow(options.rows)
        large = bench.verify()
    for cost in (small, large):
        rate = cost.rows / cost.wall_s
        print(
            f"{cost.rows:>13,} rows: {cost.wall_s:6.1f} s, {rate / 1e6:.1f} M rows/s, "
            f"{cost.rows / cost.cpu_s / 1e6:.1f} M rows per CPU second, peak {cost.peak_mib:,.0f} MiB"
        )
    per_row = (large.peak_mib - small.peak_mib) / (large.rows - small.rows)
    print(
        f"per 10^9 rows: {per_row * 1e9:+,.0f} MiB, {1e9 * (large.wall_s - small.wall_s) / (large.rows - small.rows):,.0f} s"
    )


if __name__ == "__main__":
    main()
