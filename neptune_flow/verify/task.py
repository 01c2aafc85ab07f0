"""What is to be verified, and how: made from the flow's own settings."""

from __future__ import annotations

from dataclasses import dataclass

from neptune_flow.errors import LedgerConflict
from neptune_flow.iceberg import Lake, TableReader
from neptune_flow.iceberg.audit import Days
from neptune_flow.kafka import KafkaAddress
from neptune_flow.patience import Patience
from neptune_flow.settings import Settings


@dataclass(frozen=True)
class Task:
    """What is to be verified, and how."""

    rows: TableReader
    rejects: TableReader | None
    """None: there is no quarantine table."""
    topic: str
    patience: Patience
    """How long the storage may be away, file by file."""
    kafka: KafkaAddress | None = None
    """None: Kafka is not asked."""
    needs_kafka: bool = False
    """Kafka's absence is an error; else it is noted."""
    kafka_messages_max: int = 0
    has_offsets: bool = True
    """Rows are expected to carry their offsets."""
    days: Days | None = None
    """Only files of these event days are read."""


def open_task(
    settings: Settings, days: tuple[int, int | None] | None, kafka: bool | None, kafka_messages_max: int
) -> Task:
    """Find the tables.

    Args:
        days: first and last, days since 1970-01-01; None: all.
        kafka: True insists on asking it, False does not ask; None: if it answers.

    Raises:
        LedgerConflict: there is no table of rows.
        Unavailable, AccessDenied: the catalog does not answer, or refuses.
    """
    catalog = settings.catalog
    lake = Lake.of(settings)
    rows = lake.find_table(catalog.namespace, catalog.table)
    if rows is None:
        raise LedgerConflict(
            f"there is no table {'.'.join((*catalog.namespace, catalog.table))}",
            hint="check ICEBERG_NAMESPACE and ICEBERG_TABLE; Neptune makes the table when it first starts",
        )
    return Task(
        rows=rows,
        rejects=lake.find_table(catalog.namespace, settings.quarantine_table),
        topic=settings.kafka.topic,
        patience=Patience(settings.retry_s_max),
        kafka=None if kafka is False else KafkaAddress.of(settings.kafka),
        needs_kafka=bool(kafka),
        kafka_messages_max=kafka_messages_max,
        has_offsets=settings.kafka_columns,
        days=Days(*days) if days else None,
    )
