"""Which offsets a table really holds: read as `verify` reads them, each told once, without what is of another topic or of an earlier log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from neptune_flow.errors import Superseded, TableMismatch
from neptune_flow.ledger import Ledger
from neptune_flow.mend.scene import Seen
from neptune_flow.patience import Patience
from neptune_flow.verify.offsets import OffsetSet
from neptune_flow.verify.tables import TableMoved, read_table


@dataclass(frozen=True, slots=True)
class Contents:
    """What a table holds of the log that its ledger is about."""

    seen: Mapping[int, OffsetSet] = field(default_factory=dict)
    """Per partition, as the ledger that is there has it."""
    cuts: Mapping[int, int] = field(default_factory=dict)
    """Per partition whose log was cut since, the offset from which on this is of the log as it was before."""
    without_offset: int = 0
    """Rows that do not say which message they are."""

    def of(self, partition: int) -> OffsetSet:
        """What is held of the log as it is now."""
        held = self.before_cut(partition)
        return held.below(self.cuts[partition]) if partition in self.cuts else held

    def before_cut(self, partition: int) -> OffsetSet:
        """What is held of the log as it was before it was cut."""
        return self.seen.get(partition) or OffsetSet()


def contents(
    table: Seen, columns: Sequence[str], ledger: Ledger, cuts: Mapping[int, int], patience: Patience
) -> Contents | None:
    """Read the offsets; None where the table does not tell them.

    Args:
        columns: `verify.tables.ROWS_COLUMNS` or `REJECTS_COLUMNS`.
        ledger: as it is, or what is to be read where that is of no use.
        cuts: see `Contents`.

    Raises:
        TableMismatch: a data file is gone or broken, or there are equality deletes.
        Superseded: the table was rewritten meanwhile.
        Unavailable, AccessDenied: the storage does not answer, or refuses.
    """
    audit = table.table.audit(table.at)
    if not audit.has_columns(columns):
        return None
    try:
        tally = read_table(
            table.table, audit, columns, ledger, days=None, patience=patience, advance=lambda _rows: None
        )
    except TableMoved:
        raise Superseded(
            f"table {audit.name} was rewritten while it was read", hint="stop what writes there, and try again"
        ) from None
    if tally.broken:
        raise TableMismatch(
            f"table {audit.name} cannot be read whole: {tally.broken[0]}",
            hint="`python -m neptune_flow verify` names every such file; take it out of the table, or restore it, and try again",
        )
    return Contents(tally.partitions, cuts, tally.rows_without_offset)
