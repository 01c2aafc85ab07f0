"""Commits by another tool between Neptune's: what a table's other users do, done with PyIceberg."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files
from pyiceberg.table import Table

from tests.chaos.arena import Arena
from tests.services.neptune import Neptune
from tests.services.oracle import FIELDS
from tests.services.stage import LEDGER_TAG

ATTEMPTS_MAX = 20
"""PyIceberg's commit loses many a race against a table that changes twice a second."""
FOREIGN = "a foreign row"
COMPACTED_FILES_MAX = 20


def foreign_commits(arena: Arena) -> None:
    """Append and delete, compaction, expiry, rollback, drop: while Neptune runs, or between two processes."""
    with arena.load():
        neptune = arena.start()
        arena.wait_commits(neptune, 2)
        while arena.wants_more():
            act = arena.random.choice((_append_and_delete, _compact, _expire, _roll_back, _drop))
            arena.counts.faults[f"another tool: {act.__name__.strip('_').replace('_', ' ')}"] += 1
            is_running = arena.random.random() < 0.6
            if not is_running:
                arena.kill(neptune)
            neptune = act(arena, neptune if is_running else None)
            arena.wait_commits(neptune, 2)


def _append_and_delete(arena: Arena, neptune: Neptune | None) -> Neptune:
    """Rows of somebody else, who takes them away again before anybody counts."""
    _insist(arena, lambda table: table.append(_foreign_rows(table)))
    neptune = neptune or arena.start()
    arena.wait_commits(neptune)
    _insist(arena, lambda table: table.delete(f"device_id = '{FOREIGN}'"))
    return _again(arena, neptune)


def _compact(arena: Arena, neptune: Neptune | None) -> Neptune:
    """Some of Neptune's files become one."""
    _insist(arena, _compacted)
    return _again(arena, neptune)


def _expire(arena: Arena, neptune: Neptune | None) -> Neptune:
    """Every snapshot goes that no branch or tag holds."""
    _insist(arena, lambda table: table.maintenance.expire_snapshots().older_than(datetime.now(UTC)).commit())
    return _again(arena, neptune)


def _roll_back(arena: Arena, neptune: Neptune | None) -> Neptune:
    """`main` goes back to an older snapshot: Neptune stops with 65, and goes on when that is undone, or the ledger set to it."""
    _insist(arena, _rolled_back)
    arena.expect_exit(neptune or arena.start(), 65)
    if arena.random.random() < 0.5:
        _table(arena).manage_snapshots().set_current_snapshot(ref_name=LEDGER_TAG).commit()
    else:
        arena.set_ledger("ledger")
    return arena.start()


def _drop(arena: Arena, neptune: Neptune | None) -> Neptune:
    """The rows' table is dropped: Neptune stops with 65, and takes the whole topic again when the ledger is set to what the rows hold."""
    arena.stage.catalog.drop_table(("default", arena.stage.table))
    if neptune is not None:
        arena.expect_exit(neptune, 65, 69)
    arena.expect_exit(arena.start(), 65)
    arena.set_ledger("rows")
    return arena.start()


def _again(arena: Arena, neptune: Neptune | None) -> Neptune:
    """What ran before runs on for a commit and is killed, so that a next process meets the change too."""
    if neptune is not None:
        arena.wait_commits(neptune)
        arena.kill(neptune)
    return arena.start()


def _insist(arena: Arena, act: Callable[[Table], object]) -> None:
    """Act on a fresh table until no commit of Neptune's came between."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            act(_table(arena))
        except (CommitFailedException, ValidationException):
            if attempt == ATTEMPTS_MAX - 1:
                raise
        else:
            return


def _table(arena: Arena) -> Table:
    table = arena.stage.load()
    assert table, "there is no table"
    return table


def _foreign_rows(table: Table) -> pa.Table:
    schema = table.schema().as_arrow()
    now = datetime.now(UTC)
    numbers = {name: 0.0 for name in FIELDS if "lat" in name or "lon" in name}
    row = {**dict.fromkeys(FIELDS, FOREIGN), **numbers, "timestamp": now, "event_date": now.date()}
    return pa.Table.from_pylist([row], schema=schema)


def _compacted(table: Table) -> None:
    """As a compaction does: the rows of a few files in new ones, in one commit that replaces them."""
    by_day: dict[object, list[str]] = {}
    tasks = list(table.scan().plan_files())
    for task in tasks:
        by_day.setdefault(task.file.partition[0], []).append(task.file.file_path)
    chosen = set(max(by_day.values(), key=len)[:COMPACTED_FILES_MAX])
    old = [task.file for task in tasks if task.file.file_path in chosen]
    content = _rows_of(table, chosen)
    with table.transaction() as transaction, transaction.update_snapshot().overwrite() as overwrite:
        for file in old:
            overwrite.delete_data_file(file)
        for file in _dataframe_to_data_files(table.metadata, content, table.io):
            overwrite.append_data_file(file)


def _rows_of(table: Table, paths: set[str]) -> pa.Table:
    scan = table.scan()
    reader = ArrowScan(table.metadata, table.io, scan.projection(), AlwaysTrue(), True)
    return reader.to_table([task for task in scan.plan_files() if task.file.file_path in paths])


def _rolled_back(table: Table) -> None:
    """To the snapshot before the last two, or as far back as there is one."""
    line = list(itertools.islice(_ancestry(table), 4))
    table.manage_snapshots().rollback_to_snapshot(line[-1]).commit()


def _ancestry(table: Table) -> list[int]:
    snapshots = {s.snapshot_id: s for s in table.metadata.snapshots}
    line, head = [], table.current_snapshot()
    while head is not None:
        line.append(head.snapshot_id)
        head = snapshots.get(head.parent_snapshot_id) if head.parent_snapshot_id is not None else None
    return line
