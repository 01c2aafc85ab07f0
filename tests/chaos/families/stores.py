"""Faults of Bytewax's recovery store: lost, old, torn, restored from a backup, belonging to another table."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.chaos.arena import WAIT_S_MAX, Arena
from tests.services.neptune import OWN_COMMAND

LONG = {"NEPTUNE_WINDOW_S": "3", "NEPTUNE_COMMIT_AGE_S_MAX": "3"}
"""Windows that are open long enough for a store to hold something that is in no table."""


def harmed(arena: Arena) -> None:
    """Killed at a random moment, and the store is harmed before the next start; Neptune's own command goes on by itself."""
    store = arena.directory / "store"
    other = _of_another_table(arena)
    backups: list[Path] = []
    with arena.load():
        neptune = arena.start("-r", str(store), command=OWN_COMMAND, **LONG)
        arena.wait_commits(neptune)
        while arena.wants_more():
            arena.let_pass(arena.random.uniform(0, 3))
            arena.kill(neptune)
            harm = arena.random.choice(("none", "backup", "lost", "old", "torn", "cut", "other"))
            if harm == "backup":
                backups.append(shutil.copytree(store, arena.directory / f"backup-{len(backups)}"))
            else:
                _harm(arena, store, harm, arena.random.choice(backups) if backups else other, other)
            arena.counts.faults[f"store: {harm}"] += 1
            neptune = arena.start("-r", str(store), command=OWN_COMMAND, **LONG)
            arena.wait_commits(neptune, arena.random.choice((1, 1, 2)))


def _harm(arena: Arena, store: Path, harm: str, backup: Path, other: Path) -> None:
    match harm:
        case "lost":
            shutil.rmtree(store)
        case "old":
            _replace(store, backup)
        case "other":
            _replace(store, other)
        case "cut":
            part = _part(store)
            with part.open("r+b") as stream:
                stream.truncate(arena.random.randrange(part.stat().st_size))
        case "torn":
            part = _part(store)
            with part.open("r+b") as stream:
                stream.seek(arena.random.randrange(part.stat().st_size))
                stream.write(arena.random.randbytes(4096))


def _part(store: Path) -> Path:
    (part,) = store.glob("*.sqlite3")
    return part


def _replace(store: Path, by: Path) -> None:
    shutil.rmtree(store)
    shutil.copytree(by, store)


def _of_another_table(arena: Arena) -> Path:
    """A store of a process that landed the same topic in another table."""
    store = arena.directory / "other-store"
    with arena.load():
        neptune = arena.start("-r", str(store), command=OWN_COMMAND, ICEBERG_TABLE=f"{arena.stage.table}_other", **LONG)
        neptune.wait_event("committed", WAIT_S_MAX)
        arena.let_pass(arena.random.uniform(0, 3))
        arena.kill(neptune)
    return store
