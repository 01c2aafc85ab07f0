"""From a wish to a plan: reads what the tables hold. Changes nothing."""

from __future__ import annotations

from neptune_flow.mend.basis import Known, Wish, basis
from neptune_flow.mend.contents import Contents, contents
from neptune_flow.mend.plan import Plan, plan, settle, targets
from neptune_flow.mend.scene import Log, Seen
from neptune_flow.patience import Patience
from neptune_flow.verify.tables import REJECTS_COLUMNS, ROWS_COLUMNS


def prepare(wish: Wish, log: Log, rows: Seen, quarantine: Seen, patience: Patience) -> Plan:
    """The new ledgers for these tables, and what they lose or double.

    Raises:
        LedgerConflict: the tables cannot be mended by a ledger, or not by this one.
        SettingsError: a partition or an offset does not exist.
        TableMismatch: a table cannot be read whole.
        Superseded: a table was rewritten meanwhile.
        Unavailable, AccessDenied: the storage does not answer, or refuses.
    """
    for seen in (rows, quarantine):
        if seen.at.problem and not seen.at.is_mendable:
            raise seen.at.problem
    base = basis(wish.source, log, _known(rows), _known(quarantine))
    held = contents(rows, ROWS_COLUMNS, base.rows.reading, base.rows.cuts, patience)
    numbers = targets(wish, base, held)
    refused = contents(quarantine, REJECTS_COLUMNS, base.rejects.reading, base.rejects.cuts, patience) or Contents()
    return plan(wish, *settle(base, refused), numbers, held)


def _known(seen: Seen) -> Known:
    return Known(seen.at.ledger, seen.at.problem is not None, seen.at.sequence_number)
