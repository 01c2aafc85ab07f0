"""One test's own topic, tables and processes on the shared servers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaException
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from tests.services import oracle, traffic
from tests.services.neptune import RUNNER, Neptune, wait_for
from tests.services.oracle import COLUMNS, REJECT_COLUMNS, Landed, Place
from tests.services.servers import KafkaCluster, Platform
from tests.services.traffic import Sent, Traffic

LEDGER_KEY = "neptune.ledger"
LEDGER_TAG = "neptune"

QUICK = {
    "NEPTUNE_WINDOW_S": "2",
    "NEPTUNE_ALLOWED_LATENESS_S": "0.5",
    "NEPTUNE_IDLE_TIMEOUT_S": "1",
    "NEPTUNE_COMMIT_AGE_S_MAX": "4",
    "NEPTUNE_REQUEST_TIMEOUT_S": "5",
    "NEPTUNE_START_WAIT_S_MAX": "30",
    "NEPTUNE_RETRY_S_MAX": "60",
    "NEPTUNE_DRAIN_S_MAX": "25",
}
"""Settings that land soon and give up soon."""


class Stage:
    """A topic, its tables, and every process that a test starts.

    Args:
        platform: the servers.
        name: of topic, table and consumer group; no other test has it.
        directory: for logs and recovery stores.
        kafka: another cluster than the platform's.
    """

    def __init__(self, platform: Platform, name: str, directory: Path, kafka: KafkaCluster | None = None) -> None:
        self.platform = platform
        self.kafka = kafka or platform.kafka
        self.directory = directory
        self.topic = self.table = self.group = name
        self.processes: list[Neptune] = []

    def settings(self, **changes: str) -> dict[str, str]:
        """Neptune's settings for this stage."""
        own = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "KAFKA_TOPIC": self.topic,
            "KAFKA_CONSUMER_GROUP": self.group,
            "ICEBERG_TABLE": self.table,
        }
        return {**self.platform.settings(), **QUICK, **own, **changes}

    def start(self, *options: str, command: Sequence[str] = RUNNER, **changes: str) -> Neptune:
        """Start Neptune with these changes of the settings; it ends with the test at the latest."""
        log = self.directory / f"neptune-{len(self.processes) + 1}.log"
        process = Neptune(self.settings(**changes), log, [*command, *options])
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End every process that still runs."""
        for process in self.processes:
            if process.exit_code is None:
                process.kill()

    # Kafka

    def create_topic(self, partitions: int = 4, **config: str) -> None:
        """The stage's topic; underscores in the names of its properties stand for dots.

        Nothing is deleted for its age, since messages of the past are sent.
        """
        properties = {name.replace("_", "."): value for name, value in config.items()}
        self.kafka.create_topic(
            self.topic, partitions, replication=len(self.kafka.nodes), config={"retention.ms": "-1", **properties}
        )

    def traffic(self, **properties: object) -> Traffic:
        """A producer of the stage's topic."""
        return Traffic(self.kafka.bootstrap, self.topic, **properties)

    def log_ends(self) -> dict[int, int]:
        """Per partition, the offset after the log's last record."""
        return traffic.log_ends(self.kafka.bootstrap, self.topic)

    def group_offsets(self) -> dict[int, int]:
        """What Neptune has published to its consumer group."""
        return traffic.group_offsets(self.kafka.bootstrap, self.topic, self.group)

    # Tables

    @cached_property
    def catalog(self) -> Catalog:
        """PyIceberg's own catalog client, made with nothing of Neptune."""
        storage = self.platform.storage
        properties = {
            "type": "rest",
            "uri": self.platform.catalog.uri,
            "s3.endpoint": storage.endpoint,
            "s3.access-key-id": storage.access_key,
            "s3.secret-access-key": storage.secret_key,
            "s3.region": storage.region,
        }
        return load_catalog("tests", **properties)

    def load(self, suffix: str = "") -> Table | None:
        """The table of rows, or the one with this suffix; None where there is none yet."""
        try:
            return self.catalog.load_table(("default", self.table + suffix))
        except NoSuchTableError:
            return None

    def ledger(self, suffix: str = "") -> dict[int, Mapping[str, Any]]:
        """The entries of the ledger that the tag names; empty where there is none yet."""
        table = self.load(suffix)
        ref = table.metadata.refs.get(LEDGER_TAG) if table else None
        snapshot = table.snapshot_by_id(ref.snapshot_id) if table and ref else None
        if snapshot is None or snapshot.summary is None:
            return {}
        document = json.loads(snapshot.summary.additional_properties[LEDGER_KEY])
        return {int(partition): entry for partition, entry in document["partitions"].items()}

    def summaries(self, suffix: str = "") -> list[dict[str, str]]:
        """The summaries of the table's snapshots, oldest first."""
        table = self.load(suffix)
        snapshots = sorted(table.metadata.snapshots, key=lambda s: s.sequence_number or 0) if table else []
        return [dict(s.summary.additional_properties) for s in snapshots if s.summary]

    def landed(self) -> Landed:
        """All that the tables hold."""
        rows, rejects = self.load(), self.load("_quarantine")
        assert rows, "there is no table yet"
        assert rejects, "there is no quarantine table yet"
        return Landed(self.topic, _read(rows, COLUMNS), _read(rejects, REJECT_COLUMNS), self.ledger())

    def places(self) -> tuple[list[Place], list[Place]]:
        """Partition and offset of all rows, and of all rejects: quicker than all that the tables hold."""
        rows, rejects = self.load(), self.load("_quarantine")
        assert rows, "there is no table yet"
        assert rejects, "there is no quarantine table yet"
        landed = Landed(self.topic, _read(rows, ["_kafka"]), _read(rejects, ["partition", "offset"]), {})
        return landed.row_places, landed.reject_places

    # Waiting and judging

    def is_caught_up(self) -> bool:
        """Whether the ledger ends where the log ends, in every partition."""
        ledger = self.ledger()
        try:
            return self.log_ends() == {partition: entry["next"] for partition, entry in ledger.items()}
        except KafkaException:
            return False  # a broker that has just come back does not lead yet

    def wait_caught_up(self, neptune: Neptune | None = None, limit_s: float = 120.0) -> None:
        """Wait until the ledger ends where the log ends."""
        waiting = neptune.wait_for if neptune else wait_for
        waiting(self.is_caught_up, "the ledger ends where the log ends", limit_s)

    def assert_exact(self, sent: Sequence[Sent]) -> None:
        """Every message that was sent is in its table once, and the ledger says so up to the log's end."""
        oracle.assert_exact(sent, self.landed(), self.log_ends())


def _read(table: Table, columns: Sequence[str]) -> pa.Table:
    return table.scan(selected_fields=tuple(columns)).to_arrow()
