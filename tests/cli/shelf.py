"""Tables on a local lake that hold what became of real messages, judged by the real contract; and the command beside them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from click.testing import CliRunner, Result

from neptune_flow.cli import main
from neptune_flow.contract import load_contract
from neptune_flow.iceberg import LakeTable
from neptune_flow.ledger import Ledger
from neptune_flow.protocol import Outcome
from neptune_flow.records import DataFile, Stretch
from neptune_flow.simulator import Fleet
from neptune_flow.start import QUARANTINE_DAY
from neptune_flow.validation import Validator
from tests.iceberg.worlds import NAMESPACE, open_lake, properties
from tests.messages import CREATE_TIME, SampleMessage, batch_from

TOPIC = "sessions"
TABLE = "raw_delivery_data"
DAY = datetime(2023, 11, 14, tzinfo=UTC)
"""The day for which `tests.iceberg.worlds` makes deletes."""
NOBODY = "127.0.0.1:1"
"""Where no broker answers."""


class Shelf:
    """Both tables in a folder, and what lands in them."""

    def __init__(self, folder: Path, contract: str = "neptune_flow.contract:DeliveryData") -> None:
        self.folder = folder
        self.validator = Validator(
            load_contract(contract), topic=TOPIC, kafka_columns=True, extra_column=True, future_skew_s=300
        )
        lake = open_lake(folder)
        self.rows = lake.ensure_table(NAMESPACE, TABLE, self.validator.rows_schema, day_column="event_date")
        self.quarantine = lake.ensure_table(
            NAMESPACE, f"{TABLE}_quarantine", self.validator.rejects_schema, day_column=QUARANTINE_DAY
        )
        self.kafka = NOBODY
        """Where the command looks for Kafka."""
        self._commits = 0

    def land(
        self, values: Sequence[bytes | None], *, partition: int = 0, at: datetime = DAY, key: bytes = b"k"
    ) -> None:
        """Judge these messages, all of this Kafka time, and commit them as the sink does: the quarantine first.

        Event times must be of the same day.
        """
        ledger = self.rows.read_ledger() or Ledger(TOPIC, None)
        first = ledger.entries[partition].next if partition in ledger.entries else 0
        when = (CREATE_TIME, int(at.timestamp() * 1000))
        headers: list[tuple[str, bytes | None]] = [("origin", b"test"), ("odd", b"\xff")]
        messages = [
            SampleMessage(value, offset=first + n, key=key, timestamp=when, headers=headers)
            for n, value in enumerate(values)
        ]
        judged = self.validator.judge(batch_from(messages, first, partition), time.time_ns() // 1000)
        stretch = Stretch(
            partition,
            first,
            first + len(values),
            row_count=judged.rows.num_rows,
            reject_count=judged.rejects.num_rows,
            watermark=int(at.timestamp() * 1_000_000),
        )
        self._commits += 1
        commit = f"c{self._commits}"
        day = int(at.timestamp()) // 86_400
        rejects = [self.quarantine.write_file([judged.rejects], day)] if judged.rejects.num_rows else []
        rows = [self.rows.write_file([judged.rows], day)] if judged.rows.num_rows else []
        held = self.quarantine.read_ledger() or Ledger(TOPIC, None)
        _commit(self.quarantine, rejects, held.advance_rejects([stretch], commit), commit)
        _commit(self.rows, rows, ledger.advance([stretch], commit), commit)

    def settings(self, **changes: str) -> dict[str, str]:
        own = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "KAFKA_TOPIC": TOPIC,
            "ICEBERG_CATALOG": "lake",
            "NEPTUNE_CATALOG_PROPERTIES": json.dumps(properties(self.folder, type="sql")),
            "NEPTUNE_START_WAIT_S_MAX": "0",
        }
        return {**own, **changes}

    def neptune(self, *words: str, **changes: str) -> Result:
        """The command as it is called."""
        return CliRunner(env=self.settings(**changes)).invoke(main, words)


def _commit(table: LakeTable, files: list[DataFile], ledger: Ledger, commit: str) -> None:
    done = table.attempt(table.look(), files, ledger, commit, {})
    assert done.outcome is Outcome.LANDED, done


def good(count: int, *, at: datetime = DAY, seed: int = 1) -> list[bytes]:
    """Messages that the contract accepts, with event times from `at` on."""
    fleet = Fleet(seed, start=at, vehicles=10, bad_share=0.0)
    return [message.value or b"" for message in islice(fleet, count)]


def spoiled(**changes: object) -> bytes:
    """A message with these fields changed; a field that is None is left out."""
    fields = json.loads(good(1)[0]) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
