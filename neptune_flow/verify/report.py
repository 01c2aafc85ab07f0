"""What a verification found, as values: the faults, each Kafka partition, and what could not be judged. Finds nothing out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from neptune_flow.ledger import Entry
from neptune_flow.verify.offsets import Ranges


class Kind(Enum):
    """What a fault is."""

    LOST = "lost"
    """A message that the ledger has taken is in no table, or the file that holds it is gone or cannot be read."""
    TWIN = "twin"
    """A message is in the tables more than once."""
    SKIP = "skip"
    """A ledger's number, total or watermark is not what the tables and its own past say."""
    STRANGE = "strange"
    """Something that Neptune did not put there, or would not go on with."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    kind: Kind
    table: str
    """Its full name; of both, the rows' table."""
    what: str
    """In words, without table, partition and offsets."""
    partition: int | None = None
    """The Kafka partition; None where it is not about one."""
    offsets: Ranges | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """One Kafka partition: what is said of it, and what is held."""

    partition: int
    entry: Entry | None
    """What the rows' ledger says; None where it does not know the partition."""
    rows: int | None
    """Rows that the table holds of it; None where rows do not carry their offsets."""
    rejects: int
    """Rejects that the quarantine holds of it, also those that are ahead of the rows."""
    missing: int | None
    """Offsets that the ledger has taken and no table holds; None where that cannot be told."""
    faults: int
    """How many of the report's faults are about this partition."""


@dataclass(frozen=True, slots=True)
class TableReport:
    """What was read of one table."""

    name: str
    snapshot: int | None
    files: int
    rows: int
    """Rows that were read; those of an earlier log are not among them."""
    rows_of_earlier_log: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found."""

    topic: str | None
    tables: tuple[TableReport, ...]
    partitions: tuple[PartitionReport, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    """What was not judged, and why."""
    is_part: bool
    """Only some days were read."""

    @property
    def is_whole(self) -> bool:
        return not self.faults

    def counts(self) -> Mapping[Kind, int]:
        """How many faults there are of each kind."""
        return {kind: sum(f.kind is kind for f in self.faults) for kind in Kind}

    def to_json(self) -> dict[str, Any]:
        """The report as JSON's values. Ranges of offsets are `[first, next)`."""
        return {
            "whole": self.is_whole,
            "part": self.is_part,
            "topic": self.topic,
            "counts": {kind.value: count for kind, count in self.counts().items()},
            "faults": [_fault(f) for f in self.faults],
            "notes": list(self.notes),
            "tables": [asdict(t) for t in self.tables],
            "partitions": [asdict(p) for p in self.partitions],
        }


def _fault(fault: Fault) -> dict[str, Any]:
    found = fault.offsets
    return {
        "kind": fault.kind.value,
        "table": fault.table,
        "partition": fault.partition,
        "what": fault.what,
        "hint": fault.hint or None,
        "offsets": None if found is None else found.offsets,
        "ranges": None if found is None else [list(r) for r in found.shown],
        "has_more_ranges": found is not None and found.has_more,
    }
