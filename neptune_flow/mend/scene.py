"""The worlds that are mended, opened and seen once. No contract is needed, and a history that makes no sense is no obstacle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neptune_flow.errors import LedgerConflict
from neptune_flow.iceberg import Lake
from neptune_flow.iceberg.mending import MendableTable, Surveyed
from neptune_flow.kafka import KafkaAddress, Topic, find_topic, log_ranges
from neptune_flow.settings import Settings


@dataclass(frozen=True, slots=True)
class Seen:
    """One table, and how it was when it was looked at."""

    table: MendableTable
    at: Surveyed


@dataclass(frozen=True, slots=True)
class Tables:
    """The two tables; None where there is none of that name."""

    rows: Seen | None
    quarantine: Seen | None
    names: tuple[str, str]
    """Full names, the rows' first."""

    def both(self) -> tuple[Seen, Seen]:
        """The tables, which must be there.

        Raises:
            LedgerConflict: one of them is not.
        """
        if self.rows is not None and self.quarantine is not None:
            return self.rows, self.quarantine
        raise LedgerConflict(
            f"there is no table {self.names[0 if self.rows is None else 1]}",
            hint="check ICEBERG_NAMESPACE and ICEBERG_TABLE; if the table was dropped, start Neptune once: it creates the table, "
            "and says whether a ledger must be set",
        )


@dataclass(frozen=True, slots=True)
class Log:
    """The topic, and what Kafka holds of it."""

    topic: Topic
    ranges: Mapping[int, tuple[int, int]]
    """Per partition the first offset that Kafka still holds, and the log's end."""


def open_tables(settings: Settings) -> Tables:
    """Both tables as they are now: the rows' first, as a start reads them.

    Raises:
        Unavailable, AccessDenied: the catalog does not answer, or refuses.
    """
    catalog = settings.catalog
    lake = Lake.of(settings)
    names = catalog.table, settings.quarantine_table
    rows, quarantine = (_see(lake, catalog.namespace, name) for name in names)
    return Tables(
        rows, quarantine, (".".join([*catalog.namespace, names[0]]), ".".join([*catalog.namespace, names[1]]))
    )


def ask_kafka(settings: Settings) -> Log:
    """The topic as it is now, asked once.

    Raises:
        Unavailable, AccessDenied: no broker answered, it refused, or there is no such topic.
    """
    address = KafkaAddress.of(settings.kafka)
    topic = find_topic(address)
    return Log(topic, log_ranges(address, topic.partitions))


def _see(lake: Lake, namespace: tuple[str, ...], name: str) -> Seen | None:
    reader = lake.find_table(namespace, name)
    if reader is None:
        return None
    table = MendableTable(reader)
    return Seen(table, table.survey())
