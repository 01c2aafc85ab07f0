"""Commits as the flow makes them, without Kafka before them: what `bench.commits` measures.

    simulated messages ─► Validator ─► stretches of every partition ─► Committer (spool, manifests, catalog) ─► Commit

A Lane is a table with its quarantine and the committer that lands in them. Event time goes on by a minute a commit, so days come and go.
A World has a lake to commit to: the Iceberg REST catalog on an object storage (`rest`), or SQLite beside a folder (`local`); the first one can be
asked through proxies that count (`counted`). Nothing is measured here but one commit.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from neptune_flow.contract import load_contract
from neptune_flow.iceberg import Attempt, Lake, LakeTable, TableLook
from neptune_flow.ledger import Ledger
from neptune_flow.patience import Patience
from neptune_flow.records import DataFile, Pile, Stretch
from neptune_flow.simulator import Fleet
from neptune_flow.sink import Committer, KnownAtStart
from neptune_flow.spool import Spool, SpoolBudget, split_by_day
from neptune_flow.start import QUARANTINE_DAY
from neptune_flow.validation import Validator
from tests.chaos.proxy import Fault, FaultProxy, Request
from tests.messages import SampleMessage, batch_from
from tests.services.servers import ObjectStorage, RestCatalog, object_storage

BUCKET = "neptune"
TOPIC = "commits"
NAMESPACE = ("default",)
EVENT_TIME_PER_COMMIT = timedelta(minutes=1)
BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
SPOOL_BYTES_MAX = 32 << 20
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit took, and what it left."""

    number: int
    total_ms: float
    files_ms: float
    """Data files, encoding and upload."""
    manifests_ms: float
    catalog_ms: float
    cpu_ms: float
    """Of this process."""
    days: int
    files: int
    manifests: int
    snapshots: int
    metadata_location: str = field(repr=False)
    manifest_list: str = field(repr=False)


class _Recorded:
    """A table that keeps what it said of its last attempt, and how long that took."""

    def __init__(self, table: LakeTable) -> None:
        self._table = table
        self.name = table.name
        self.last: Attempt | None = None
        self.took_s = 0.0

    def look(self) -> TableLook:
        return self._table.look()

    def attempt(
        self, look: TableLook, files: Sequence[DataFile], ledger: Ledger, commit_id: str, summary: Mapping[str, str]
    ) -> Attempt:
        began_s = time.perf_counter()
        self.last = self._table.attempt(look, files, ledger, commit_id, summary)
        self.took_s = time.perf_counter() - began_s
        return self.last


class Lane:
    """A table, its quarantine, and a committer that goes on where their ledgers are."""

    def __init__(self, lake: Lake, name: str, partitions: int, rows: int, bad_share: float = 0.0) -> None:
        """Each commit takes `rows` messages of each of `partitions` Kafka partitions; the share of them is bad."""
        contract = load_contract("neptune_flow.contract:DeliveryData")
        self._validator = Validator(contract, topic=TOPIC, kafka_columns=True, extra_column=True, future_skew_s=300.0)
        self._event_date = contract.event_date
        self._partitions, self._rows = partitions, rows
        self.table = lake.ensure_table(NAMESPACE, name, self._validator.rows_schema, day_column=contract.event_date)
        self.quarantine = lake.ensure_table(
            NAMESPACE, f"{name}_quarantine", self._validator.rejects_schema, day_column=QUARANTINE_DAY
        )
        budget = SpoolBudget(SPOOL_BYTES_MAX)
        self._recorded = _Recorded(self.table)
        self._committer = Committer(
            self._recorded,
            self.quarantine,
            Spool(self.table, contract.event_date, budget),
            Spool(self.quarantine, QUARANTINE_DAY, budget),
            KnownAtStart(TOPIC, None),
            Patience(PATIENCE_S),
            lambda _offsets: None,
        )
        per_commit = partitions * rows
        fleet = Fleet(
            7,
            start=BEGIN,
            vehicles=per_commit,
            interval_s=EVENT_TIME_PER_COMMIT.total_seconds(),
            bad_share=bad_share,
        )
        self._messages = iter(fleet)
        self.commits = 0

    def commit(self) -> Commit:
        """The next messages of every partition, landed."""
        stretches = [self._stretch(partition) for partition in range(self._partitions)]
        self.commits += 1
        cpu_s, began_s = time.process_time(), time.perf_counter()
        self._committer.write_batch(stretches)
        self._committer.snapshot()
        total_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        attempt = self._recorded.last
        assert attempt
        assert attempt.after
        metadata = attempt.after.table.metadata
        snapshot = metadata.current_snapshot()
        assert snapshot
        assert snapshot.summary
        return Commit(
            number=self.commits,
            total_ms=_ms(total_s),
            files_ms=_ms(total_s - self._recorded.took_s),
            manifests_ms=_ms(attempt.manifest_s),
            catalog_ms=_ms(self._recorded.took_s - attempt.manifest_s),
            cpu_ms=_ms(cpu_s),
            days=len({part.day for s in stretches for part in s.rows.tail}),
            files=int(snapshot.summary.additional_properties.get("added-data-files", 0)),
            manifests=attempt.manifests,
            snapshots=len(metadata.snapshots),
            metadata_location=attempt.after.table.metadata_location,
            manifest_list=snapshot.manifest_list,
        )

    def size_bytes(self, location: str) -> int:
        """Of an object of the table."""
        return len(self.table.load().io.new_input(location))

    def _stretch(self, partition: int) -> Stretch:
        first = self.commits * self._rows
        made = islice(self._messages, self._rows)
        messages = [SampleMessage(m.value, offset=first + n, key=m.key) for n, m in enumerate(made)]
        judged = self._validator.judge(batch_from(messages, first, partition), time.time_ns() // 1000)
        newest = int(np.max(judged.event_times)) if len(judged.event_times) else None
        return Stretch(
            partition,
            judged.first,
            judged.next,
            row_count=judged.rows.num_rows,
            reject_count=judged.rejects.num_rows,
            watermark=newest,
            event_time_max=newest,
            rows=Pile(tail=tuple(split_by_day(judged.rows, self._event_date))),
            rejects=Pile(tail=tuple(split_by_day(judged.rejects, QUARANTINE_DAY))),
        )


class Counted:
    """A proxy that passes everything on and counts it, by method and by what is asked for."""

    def __init__(self, target: str) -> None:
        self.counts: Counter[str] = Counter()
        self.proxy = FaultProxy(target)
        self.proxy.judge = self._count

    def _count(self, request: Request) -> Fault | None:
        self.counts[f"{request.method} {_asked(request)}"] += 1
        return None

    def take(self) -> Counter[str]:
        """The counts since they were taken last."""
        taken, self.counts = self.counts, Counter()
        return taken


_KINDS = {
    "data file": re.compile(r"/data/.*\.parquet$"),
    "manifest list": re.compile(r"/metadata/snap-[^/]*\.avro$"),
    "manifest": re.compile(r"/metadata/[^/]*-m\d+\.avro$"),
    "metadata.json": re.compile(r"/metadata/[^/]*\.metadata\.json$"),
    "table": re.compile(r"^/v1/.*/tables/[^/]+$"),
}


def _asked(request: Request) -> str:
    path = request.path.partition("?")[0]
    found = [name for name, pattern in _KINDS.items() if pattern.search(path)]
    return found[0] if found else re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "…", request.path)


@dataclass(frozen=True)
class World:
    """A lake, and the servers beneath it where there are some."""

    properties: Mapping[str, str]
    storage: ObjectStorage | None = None
    catalog: RestCatalog | None = None

    def lake(self) -> Lake:
        """The lake, opened anew."""
        return Lake.open("catalog", self.properties, request_timeout_s=60)

    def settings(self) -> dict[str, str]:
        """Neptune's settings for this lake."""
        assert self.storage
        assert self.catalog
        return {
            "ICEBERG_REST_URL": self.catalog.uri,
            "MINIO_ENDPOINT": self.storage.endpoint,
            "MINIO_ACCESS_KEY": self.storage.access_key,
            "MINIO_SECRET_KEY": self.storage.secret_key,
            "MINIO_BUCKET": BUCKET,
        }

    def servers_cpu_s(self) -> dict[str, float]:
        """What the servers have taken so far."""
        servers = {"storage": self.storage, "catalog": self.catalog}
        return {name: server.cpu_s() for name, server in servers.items() if server}


@contextmanager
def local(folder: Path) -> Iterator[World]:
    """SQLite beside a folder."""
    yield World({"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/warehouse"})


@contextmanager
def rest() -> Iterator[World]:
    """The Iceberg REST catalog on an object storage."""
    with object_storage() as storage, RestCatalog(storage, bucket=BUCKET) as catalog:
        world = World(_properties(catalog.uri, storage, storage.endpoint), storage, catalog)
        world.lake().ensure_bucket(BUCKET)
        yield world


@contextmanager
def counted() -> Iterator[tuple[World, dict[str, Counted]]]:
    """As `rest`, with a counting proxy before the catalog, and one each for the two clients of the storage."""
    with ExitStack() as stack:
        storage = stack.enter_context(object_storage())
        before_storage = {name: Counted(storage.endpoint) for name in ("Neptune to storage", "catalog to storage")}
        behind = before_storage["catalog to storage"].proxy.address
        catalog = stack.enter_context(RestCatalog(storage, bucket=BUCKET, s3_endpoint=behind))
        counters = {**before_storage, "Neptune to catalog": Counted(catalog.uri)}
        for counter in counters.values():
            stack.callback(counter.proxy.close)
        endpoint = counters["Neptune to storage"].proxy.address
        world = World(_properties(counters["Neptune to catalog"].proxy.address, storage, endpoint), storage, catalog)
        world.lake().ensure_bucket(BUCKET)
        yield world, counters


def _properties(uri: str, storage: ObjectStorage, endpoint: str) -> dict[str, Any]:
    return {
        "type": "rest",
        "uri": uri,
        "s3.endpoint": endpoint,
        "s3.access-key-id": storage.access_key,
        "s3.secret-access-key": storage.secret_key,
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
