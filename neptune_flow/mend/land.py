"""Landing a plan: the quarantine's ledger first, then the rows', each pinned to what was seen.

A crash between the two leaves tables that still contradict each other, so that Neptune still stops and the command can be given again. Where the
quarantine's ledger says the same as before, it is landed all the same, so that no reject gets in that the plan has not seen; a crash then
leaves tables with which Neptune goes on as before. Every entry that changes names the new commit: whoever still runs, sleeps or has an
attempt under way is superseded (`protocol`).
"""

from __future__ import annotations

import json

import numpy as np

from neptune_flow.errors import Superseded, Unavailable
from neptune_flow.landing import new_commit_id
from neptune_flow.ledger import SET_KEY, Ledger
from neptune_flow.mend.plan import Plan
from neptune_flow.mend.scene import Seen
from neptune_flow.patience import Patience
from neptune_flow.protocol import Outcome
from neptune_flow.vitals import CATALOG


def land(plan: Plan, rows: Seen, quarantine: Seen, patience: Patience, snapshots_max: int) -> int:
    """Land the plan; the id of the snapshot that carries the rows' new ledger.

    Raises:
        Superseded: somebody has committed since the tables were seen.
        Unavailable, AccessDenied: catalog or storage stayed away; the ledger may still have landed.
    """
    commit = new_commit_id()
    done = plan.under(commit)
    _land(quarantine, done.rejects, commit, _summary(plan, done.rejects), patience, snapshots_max)
    return _land(rows, done.rows, commit, _summary(plan, done.rows), patience, snapshots_max)


def _land(
    seen: Seen, ledger: Ledger, commit: str, summary: dict[str, str], patience: Patience, snapshots_max: int
) -> int:
    def attempt() -> int:
        result = seen.table.set_ledger(seen.at, ledger, commit, summary, snapshots_max)
        if result.outcome is Outcome.LANDED and result.snapshot_id is not None:
            return result.snapshot_id
        now = seen.table.survey()
        if now.ledger and now.snapshot and commit in {entry.commit for entry in now.ledger.entries.values()}:
            return now.snapshot.snapshot_id
        if (now.head, now.tag) != (seen.at.head, seen.at.tag):
            raise Superseded(
                f"table {seen.table.name} has moved since it was looked at",
                detail="nothing was set"
                if result.outcome is Outcome.REFUSED
                else "whether the ledger was set is not known",
                hint="stop Neptune and whatever else writes there, and give the command again",
            )
        raise Unavailable(f"{seen.table.name}: the ledger has not landed yet", detail=result.error)

    return patience.call(CATALOG, attempt)


def _summary(plan: Plan, ledger: Ledger) -> dict[str, str]:
    numbers = {str(c.partition): [c.before, c.after] for c in plan.changes}
    summary = {SET_KEY: json.dumps({"from": plan.source.value, "offsets": numbers}, separators=(",", ":"))}
    if ledger.watermark_least is not None:
        summary["neptune.watermark-least"] = f"{np.datetime64(ledger.watermark_least, 'us')}Z"
    return summary
