"""`neptune run` and `python dataflow.py`: Bytewax's own runner with defaults that suit Neptune.

The options (`-w`, `-i`, `-a`, `-r`, `-s`, `-b`) and environment variables are Bytewax's. Three things differ from `python -m bytewax.run`:

- the epoch, at whose end Neptune commits, is 1 s instead of 10 s unless `-s` says otherwise;
- a recovery directory that is empty is initialized;
- a recovery store that does not join the table's ledger, or cannot be read, is set aside and a new one begun: the ledger alone is
  enough to be exact. (Not in a cluster, whose members share the store: there the process exits with StateDoesNotJoin's code.)
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bytewax.recovery import init_db_dir

from neptune_flow.cluster import cluster_addresses, option
from neptune_flow.errors import StateDoesNotJoin
from neptune_flow.process import UNUSABLE_STORE, neptune_error_in
from neptune_flow.telemetry import get_logger

log = get_logger("neptune")

EPOCH_S = "1"
RECOVERY_PARTITIONS = 1
_UNFIT = (StateDoesNotJoin, *UNUSABLE_STORE)


def run(dataflow_file: str, options: Sequence[str] | None = None, command: Sequence[str] | None = None) -> None:
    """Run the flow of this file; returns when it has drained.

    Args:
        dataflow_file: a file with a dataflow, or a function that makes one, of the name `flow`.
        options: Bytewax's; those of the command line where none are given.
        command: arguments of the interpreter with which this process is started again, before the options; the file where none are given.

    Raises:
        NeptuneError: why it stopped; the process's exception hook makes its exit code of it.
    """
    os.environ.setdefault("BYTEWAX_SNAPSHOT_INTERVAL", EPOCH_S)
    os.environ.setdefault("BYTEWAX_RECOVERY_BACKUP_INTERVAL", "0")
    options = sys.argv[1:] if options is None else list(options)
    known = _known_options(options)
    recovery = known.recovery_directory
    if recovery is not None:
        recovery.mkdir(parents=True, exist_ok=True)
        if not any(recovery.glob("*.sqlite3")):
            init_db_dir(recovery, RECOVERY_PARTITIONS)  # type: ignore[no-untyped-call]
    sys.argv = ["python dataflow.py", f"{dataflow_file}:flow", *options]
    try:
        runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)
    except Exception as error:
        if recovery is None or known.is_cluster or not _is_unfit(error):
            raise
        set_aside(recovery)
        again = [dataflow_file] if command is None else command
        os.execv(sys.executable, [sys.executable, *again, *options])  # noqa: S606 - ourselves, anew


def run_package(options: Sequence[str]) -> None:
    """Run the packaged flow with these options of Bytewax's, whatever the working directory; as `run`."""
    # The file is named and not imported: it must be imported as Bytewax does it, so that its errors have their exit codes.
    run(str(Path(__file__).with_name("launch.py")), options, ["-m", "neptune_flow", "run"])


def set_aside(recovery: Path) -> Path:
    """Move a recovery store out of the way, into a folder beside it; nothing is deleted."""
    aside = recovery / f"set-aside-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    aside.mkdir()
    for file in recovery.glob("*.sqlite3*"):
        file.rename(aside / file.name)
    log.warning("recovery_store_set_aside", directory=str(aside), effect="resuming from the table's ledger alone")
    return aside


def _is_unfit(error: BaseException) -> bool:
    # A store that SQLite cannot read reaches Python as a RuntimeError with SQLite's own words.
    if "SqliteFailure" in str(error):
        return True
    return isinstance(neptune_error_in(error) or error, _UNFIT) or isinstance(error.__cause__, _UNFIT)


class _Known(NamedTuple):
    """The few of Bytewax's options that matter here; its own parser judges the rest."""

    recovery_directory: Path | None
    is_cluster: bool


def _known_options(options: list[str]) -> _Known:
    recovery = option("-r", "--recovery-directory", "BYTEWAX_RECOVERY_DIRECTORY", options)
    return _Known(None if recovery is None else Path(recovery), bool(cluster_addresses(options)))
