"""What the tables hold, checked against what was produced and against the ledger. Reads, compares, prints nothing.

Of each Kafka partition the offsets of all rows and all rejects are taken from the tables themselves; the ledger's numbers have to agree with
them, not the other way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neptune_flow.ledger import Entry

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PartitionEvidence:
    """One Kafka partition: the ledger's entry, and what the tables hold."""

    partition: int
    entry: Entry
    log_end: int
    """The offset after Kafka's last message."""
    rows: int
    rejects: int
    twins: int
    """Messages that are in the tables more than once."""
    lost: int
    """Offsets that the ledger has passed and no table holds."""
    strange: int
    """Offsets in a table that the ledger has not passed."""

    @property
    def is_exact(self) -> bool:
        """Whether the identity of the ledger holds, and the tables hold just what it says."""
        found = (self.rows, self.rejects) == (self.entry.rows, self.entry.rejects)
        return found and self.entry.is_balanced and not (self.twins or self.lost or self.strange)


class Verdict(NamedTuple):
    """One thing that had to hold."""

    claim: str
    found: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was found."""

    sent: int
    bad: Mapping[str, int]
    """Bad messages that were produced, by the reason for which they must be refused."""
    reasons: Mapping[str, int]
    """Rejects by reason; one with several counts at each."""
    partitions: tuple[PartitionEvidence, ...]

    @property
    def rows(self) -> int:
        return sum(p.rows for p in self.partitions)

    @property
    def rejects(self) -> int:
        return sum(p.rejects for p in self.partitions)

    def verdicts(self) -> list[Verdict]:
        """What had to hold, and whether it does."""
        bad = sum(self.bad.values())
        behind = sum(p.log_end - p.entry.next for p in self.partitions)
        unexplained = {r: n for r, n in self.bad.items() if self.reasons.get(r, 0) < n}
        wrong = [p.partition for p in self.partitions if not p.is_exact]
        return [
            Verdict(
                "every message produced is in a table",
                f"{self.sent:,} produced = {self.rows:,} rows + {self.rejects:,} rejects",
                self.sent == self.rows + self.rejects,
            ),
            Verdict(
                "every bad message is in quarantine, for its reason, and no good one",
                f"{bad:,} bad produced, {self.rejects:,} rejects" + (f", amiss: {unexplained}" if unexplained else ""),
                bad == self.rejects and not unexplained,
            ),
            Verdict(
                "no message is there twice",
                f"{sum(p.twins for p in self.partitions):,} twins",
                not any(p.twins for p in self.partitions),
            ),
            Verdict(
                "next - first = rows + rejects + left out + lost, counted in the tables",
                f"amiss in partitions {wrong}" if wrong else f"holds in {len(self.partitions)} partitions",
                bool(self.partitions) and not wrong,
            ),
            Verdict("the ledger ends where Kafka's log ends", f"{behind:,} messages behind", behind == 0),
        ]


def examine(
    entry: Entry, partition: int, log_end: int, row_offsets: Offsets, reject_offsets: Offsets
) -> PartitionEvidence:
    """One partition's evidence, from the offsets that the tables hold of it."""
    found = np.concatenate([row_offsets, reject_offsets])
    different = np.unique(found)
    inside = int(((different >= entry.first) & (different < entry.next)).sum())
    return PartitionEvidence(
        partition=partition,
        entry=entry,
        log_end=log_end,
        rows=len(row_offsets),
        rejects=len(reject_offsets),
        twins=len(found) - len(different),
        lost=entry.next - entry.first - entry.left_out - entry.lost - inside,
        strange=len(different) - inside,
    )


def offsets_by_partition(partitions: pa.Array, offsets: pa.Array) -> dict[int, Offsets]:
    """From two columns of equal length to the offsets of each partition."""
    numbers, values = partitions.to_numpy(zero_copy_only=False), offsets.to_numpy(zero_copy_only=False)
    return {int(number): values[numbers == number] for number in np.unique(numbers)}


def count_reasons(reasons: pa.Array) -> Counter[str]:
    """Rejects by reason, from the quarantine's column; each reason of a reject counts once."""
    return Counter(kind for each in reasons.to_pylist() for kind in {reason["kind"] for reason in each})
