"""Where a command writes its answer: standard output, or a file that is in its place only once it is whole."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from neptune_flow.cli.common import CANNOT_WRITE, COULD_NOT

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 32 << 20
"""What is gathered before it is written: a row group of a few rows is neither small nor quick to read."""


class CannotWrite(click.ClickException):
    """The file that was named cannot be written."""

    exit_code = COULD_NOT


@contextmanager
def destination(file: Path | None) -> Iterator[BinaryIO]:
    """Bytes to this file, or to standard output where none is named.

    A file of that name is replaced at the end of the block, unless an error ends it; a device or a pipe is written to.

    Raises:
        CannotWrite: the file cannot be written.
    """
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not file.name:
        raise CannotWrite(f"{file} names no file")
    part: Path | None = None
    try:
        if file.exists() and not file.is_file():
            with file.open("wb") as stream:
                yield stream
            return
        target = file.resolve()
        part = target.with_name(f".{target.name}.part")
        with part.open("wb") as stream:
            yield stream
        part.replace(target)
    except OSError as error:
        if error.filename not in (str(part), str(file)) and error.errno not in CANNOT_WRITE:
            raise
        raise CannotWrite(f"{file} cannot be written: {error.strerror}") from None
    finally:
        if part is not None and sys.exc_info()[0] is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def write_parquet(stream: BinaryIO, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as one Parquet file; returns the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written, gathered = 0, list[pa.RecordBatch]()
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in batches:
            gathered.append(batch)
            written += batch.num_rows
            if (
                sum(b.num_rows for b in gathered) >= ROW_GROUP_ROWS
                or sum(b.nbytes for b in gathered) >= ROW_GROUP_BYTES
            ):
                writer.write_table(pa.Table.from_batches(gathered, schema))
                gathered.clear()
        if gathered:
            writer.write_table(pa.Table.from_batches(gathered, schema))
    return written
