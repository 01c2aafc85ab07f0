"""Bytewax's recovery store, seen from outside: making one, and reading how far it would resume. Nothing of Neptune is changed here."""

from __future__ import annotations

import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

from bytewax.recovery import init_db_dir

from neptune_flow.collect import CollectorState


def init_store(directory: Path) -> Path:
    """A new store of one part, as `python -m bytewax.recovery` makes it."""
    directory.mkdir(parents=True)
    init_db_dir(directory, 1)  # type: ignore[no-untyped-call]
    return directory


def with_store(store: Path) -> list[str]:
    """Bytewax's options to use a store, and to keep of it only what a resume needs."""
    return ["-r", str(store), "-b", "0"]


def held_offsets(store: Path) -> dict[int, tuple[int, int]]:
    """Per partition, the offsets `[first, next)` of the open windows with which the store would resume."""
    (part,) = store.glob("*.sqlite3")
    with closing(sqlite3.connect(part, timeout=10.0)) as database:
        (frontier,) = database.execute(
            "SELECT min(worker_frontier) FROM fronts WHERE ex_num = (SELECT max(ex_num) FROM fronts)"
        ).fetchone()
        snapshots = database.execute(
            "SELECT ser_change FROM snaps WHERE step_id LIKE '%collect%' AND snap_epoch < ? ORDER BY snap_epoch",
            (frontier,),
        ).fetchall()
    stored = [pickle.loads(change) for (change,) in snapshots if change is not None]  # noqa: S301 our own store
    states = [CollectorState.of(pair) for pair in stored if isinstance(pair, tuple)]
    return {s.pending.partition: (s.pending.first, s.pending.next) for s in states}
