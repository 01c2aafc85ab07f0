"""SQL on a snapshot by DuckDB: reads what the statement asks for and nothing else, writes nowhere.

    rows, quarantine ─► Arrow datasets (columns and filters are pushed into the files) ─► DuckDB ─► batches of the answer

A statement names the tables as `rows` and `quarantine`, or by their own names. Only a question is allowed: DuckDB's access to files, network and
extensions is switched off, and its memory limited; what does not fit spills into a temporary folder that goes with the query. A table that Arrow
cannot read by itself (deletes, renamed columns) is copied there first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from neptune_flow.errors import NeptuneError
from neptune_flow.iceberg.dataset import Picture, picture_of
from neptune_flow.iceberg.reading import TableReader
from neptune_flow.inspection.opening import open_table
from neptune_flow.settings import Settings

ROWS, QUARANTINE = "rows", "quarantine"
BATCH_ROWS = 1024
"""Rows of a batch of the answer: a value may be a whole message."""
_QUESTIONS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


class BadQuery(Exception):
    """The statement cannot be answered; the text is for the person who wrote it."""


@contextmanager
def answer(settings: Settings, sql: str, snapshot_id: int | None = None) -> Iterator[pa.RecordBatchReader]:
    """The statement's answer, for the length of a `with` block in which it is read.

    Args:
        sql: one SELECT (or FROM, WITH, DESCRIBE, SUMMARIZE, EXPLAIN).
        snapshot_id: of the rows or of the quarantine; the table that has it is read as it was then, the other as it is now.

    Raises:
        BadQuery: the statement is no question, wrong, or failed on the way.
        LedgerConflict: there is no table.
        TableMismatch: no table has such a snapshot, or one cannot be read.
        Unavailable, AccessDenied: catalog or storage do not answer, or refuse.
    """
    with tempfile.TemporaryDirectory(prefix="neptune-query-") as folder, _connect(settings, Path(folder)) as connection:
        with _told():
            _check(connection, sql)
            _attach(connection, settings, sql, snapshot_id)
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            reader: pa.RecordBatchReader = connection.sql(sql).to_arrow_reader(BATCH_ROWS)
        yield pa.RecordBatchReader.from_batches(reader.schema, _guarded(reader))


def _connect(settings: Settings, folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            # The other half is for batches on their way.
            "memory_limit": f"{settings.memory_bytes_max // 2 // 2**20}MiB",
            "temp_directory": str(folder),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # Else a name in the statement could mean a variable of this program.
            "python_enable_replacements": False,
            # Rows have no order of their own; keeping one costs memory.
            "preserve_insertion_order": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise BadQuery(f"give one statement; here are {len(statements)}")
    if statements[0].type not in _QUESTIONS:
        raise BadQuery(
            f"{statements[0].type.name} is no question: only SELECT and its kin read, and nothing here writes"
        )


def _attach(connection: duckdb.DuckDBPyConnection, settings: Settings, sql: str, snapshot_id: int | None) -> None:
    """Make the tables known under all their names."""
    namespace = settings.catalog.namespace
    names = {ROWS: settings.catalog.table, QUARANTINE: settings.quarantine_table}
    readers = {name: open_table(settings, own) for name, own in names.items()}
    of_snapshot = _table_of(readers, snapshot_id)
    schema = _quoted(".".join(namespace))
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    for name, reader in readers.items():
        _register(connection, name, picture_of(reader, snapshot_id if name == of_snapshot else None), sql)
        for place in ("", f"{schema}."):
            if (full := f"{place}{_quoted(names[name])}") not in (_quoted(ROWS), _quoted(QUARANTINE)):
                connection.execute(f"CREATE VIEW {full} AS FROM {name}")


def _register(connection: duckdb.DuckDBPyConnection, name: str, picture: Picture, sql: str) -> None:
    if (dataset := picture.dataset) is not None:
        connection.register(name, dataset)
        return
    batches = pa.RecordBatchReader.from_batches(picture.schema, picture.batches())
    connection.register("copied", batches)
    connection.execute(f"CREATE TEMP TABLE {name} AS FROM copied")
    connection.unregister("copied")


def _table_of(readers: dict[str, TableReader], snapshot_id: int | None) -> str | None:
    """Which of the tables has the snapshot; the rows where none has, so that the error is about them."""
    if snapshot_id is None:
        return None
    ids = {name: {s.snapshot_id for s in reader.snapshots()} for name, reader in readers.items()}
    return next((name for name, known in ids.items() if snapshot_id in known), ROWS)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _guarded(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with _told():
        yield from reader


@contextmanager
def _told() -> Iterator[None]:
    """DuckDB's errors, and Arrow's of a batch that did not come, as a word to who asked."""
    try:
        yield
    except (BadQuery, NeptuneError):
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise BadQuery(str(error).strip()) from None
