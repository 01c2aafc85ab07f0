"""Tables as Neptune leaves them, on a SQLite catalog and in a local folder, to be damaged and then verified by the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner, Result
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import Table

from neptune_flow.cli import main
from neptune_flow.iceberg import LakeTable
from neptune_flow.ledger import Ledger
from neptune_flow.protocol import Outcome
from neptune_flow.records import DataFile, Stretch
from neptune_flow.start import QUARANTINE_DAY
from neptune_flow.validation.rejects import REJECTS_SCHEMA
from tests.iceberg import worlds as lakes
from tests.iceberg.worlds import DAY, DAY_US, NAME, NAMESPACE, SCHEMA, stock

TOPIC = "sessions"
ROW, REJECT, LEFT_OUT, LOST = "r", "x", ".", "-"
"""What becomes of an offset, one letter each."""


class World:
    """A table of rows and its quarantine.

    Args:
        schema: the columns of the rows; without `_kafka` they do not say where they come from.
    """

    def __init__(self, folder: Path, schema: pa.Schema = SCHEMA) -> None:
        self.folder = folder
        self.schema = schema
        lake = lakes.open_lake(folder)
        self.rows = lakes.open_table(lake, schema)
        self.quarantine = lake.ensure_table(NAMESPACE, f"{NAME}_quarantine", REJECTS_SCHEMA, day_column=QUARANTINE_DAY)
        self._commits = 0

    # What Neptune does

    def land(
        self,
        fate: str,
        *,
        partition: int = 0,
        day: int = DAY,
        watermark: int | None = None,
        crash_before_rows: bool = False,
        summary: Mapping[str, str] | None = None,
    ) -> None:
        """Commit a stretch, quarantine first; the offsets go on where the ledger ends.

        Args:
            fate: what becomes of each offset; see ROW.
        """
        ledger = self.ledger(self.rows)
        entry = ledger.entries.get(partition)
        first = entry.next if entry else 0
        offsets = {kind: [first + i for i, letter in enumerate(fate) if letter == kind] for kind in (ROW, REJECT)}
        stretch = Stretch(
            partition,
            first,
            first + len(fate),
            row_count=fate.count(ROW),
            reject_count=fate.count(REJECT),
            left_out=fate.count(LEFT_OUT),
            lost=fate.count(LOST),
            watermark=watermark,
        )
        self._commits += 1
        commit = f"c{self._commits}"
        rejects = (
            [self.quarantine.write_file([reject_rows(offsets[REJECT], partition, day)], day)] if REJECT in fate else []
        )
        after = self.ledger(self.quarantine).advance_rejects([stretch], commit)
        self.commit(self.quarantine, after, rejects)
        if crash_before_rows:
            return
        rows = [self.rows.write_file([self.row_batch(offsets[ROW], partition, day)], day)] if ROW in fate else []
        self.commit(self.rows, ledger.advance([stretch], commit), rows, summary)

    def ledger(self, table: LakeTable) -> Ledger:
        return table.read_ledger() or Ledger(TOPIC, None)

    def commit(
        self,
        table: LakeTable,
        ledger: Ledger,
        files: list[DataFile] | None = None,
        summary: Mapping[str, str] | None = None,
    ) -> None:
        """A commit as Neptune makes it."""
        done = table.attempt(table.look(), files or [], ledger, f"c{self._commits}", summary or {})
        assert done.outcome is Outcome.LANDED, done

    def row_batch(self, offsets: list[int], partition: int = 0, day: int = DAY) -> pa.RecordBatch:
        """Rows of these offsets, in this order."""
        batches = [lakes.rows(offset, 1, day=day, partition=partition) for offset in offsets]
        return pa.Table.from_batches(batches).select(self.schema.names).combine_chunks().to_batches()[0]

    # What others do

    def append(self, table: LakeTable, batch: pa.RecordBatch) -> None:
        """Another program appends."""
        stock(table).append(pa.Table.from_batches([batch]))

    def delete(self, table: LakeTable, column: str, value: object) -> None:
        """Another program deletes rows, by writing anew the files that held them."""
        stock(table).delete(f"{column} = {value!r}")

    def data_files(self, table: LakeTable) -> list[Path]:
        """In storage, in the order of their commits."""
        entries = [e for m in _manifests(stock(table)) for e in m.fetch_manifest_entry(stock(table).io)]
        ordered = sorted(entries, key=lambda e: e.sequence_number or 0)
        return [Path(e.data_file.file_path.removeprefix("file://")) for e in ordered]

    def rewrite(self, path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
        """Put another content in a data file's place."""
        pq.write_table(change(pq.ParquetFile(path).read()), path)

    def set_tag(self, table: LakeTable, snapshot_id: int) -> None:
        stock(table).manage_snapshots().create_tag(snapshot_id, "neptune").commit()

    def tamper(self, change: Callable[[Ledger], Ledger], table: LakeTable | None = None) -> None:
        """A commit of Neptune's form whose ledger says something else."""
        table = table or self.rows
        self._commits += 1
        self.commit(table, change(self.ledger(table)))

    # Verifying

    def environment(self, **changes: str) -> dict[str, str]:
        own = {
            "NEPTUNE_CATALOG_PROPERTIES": json.dumps({"type": "sql", **lakes.properties(self.folder)}),
            "ICEBERG_CATALOG": "lake",
            "ICEBERG_TABLE": NAME,
            "KAFKA_TOPIC": TOPIC,
            "NEPTUNE_RETRY_S_MAX": "0",
        }
        return {**own, **changes}

    def run(self, *options: str, **changes: str) -> Result:
        """The command as it is called."""
        return CliRunner(env=self.environment(**changes)).invoke(main, ["verify", *options], catch_exceptions=False)

    def verdict(self, *options: str, **changes: str) -> Verdict:
        """What the command says, without Kafka."""
        result = self.run("--no-kafka", "--json", *options, **changes)
        assert result.exit_code in (0, 1), result.output
        document = json.loads(result.stdout)
        assert result.exit_code == (0 if document["whole"] else 1)
        return Verdict(document)


@dataclass(frozen=True)
class Verdict:
    """The command's JSON, with shortcuts to what tests ask for."""

    document: dict[str, Any]
    faults: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", self.document["faults"])

    @property
    def kinds(self) -> list[str]:
        """The kind of each fault, sorted."""
        return sorted(f["kind"] for f in self.faults)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The faults of a kind."""
        return [f for f in self.faults if f["kind"] == kind]

    def places(self, kind: str) -> set[tuple[int, int]]:
        """Partition and offset of everything that a kind of fault names."""
        named = [(f["partition"], r) for f in self.of(kind) for r in f["ranges"] or ()]
        return {(p, o) for p, (first, next) in named for o in range(first, next)}


def reject_rows(offsets: list[int], partition: int = 0, day: int = DAY) -> pa.RecordBatch:
    """Rejects of these offsets."""
    rows = [
        {
            "topic": TOPIC,
            "partition": partition,
            "offset": offset,
            "timestamp": day * DAY_US,
            "value": b"{}",
            "reasons": [{"field": "id", "kind": "missing", "message": "is missing"}],
            "contract": "Event",
            "day": day,
        }
        for offset in offsets
    ]
    return pa.RecordBatch.from_pylist(rows, schema=REJECTS_SCHEMA)


def foreign_equality_delete(table: LakeTable) -> None:
    """Another writer deletes rows by a value, as Flink does; the delete file itself is not there."""
    writer = lakes._foreign_writer(table, _EqualityWriter)
    deletes = DataFile("file:///nowhere/deletes.parquet", DAY, 1, 1, {}, {}, {}, {}, {}, {}, ())
    manifests = [*writer.add([deletes]), *_manifests(stock(table))]
    lakes._foreign_commit(table, writer, manifests, {"added-equality-deletes": "1"})


class _EqualityWriter(lakes._DeleteWriter):
    content = DataFileContent.EQUALITY_DELETES


def _manifests(table: Table) -> list[Any]:
    snapshot = table.current_snapshot()
    return list(snapshot.manifests(table.io)) if snapshot else []
