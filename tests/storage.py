"""A table's storage in memory, and small columns to put there, for tests of what stands between Kafka and the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pyarrow as pa

from neptune_flow.records import DataFile, DayBatch

DAY = "event_date"
SCHEMA = pa.schema([("offset", pa.int64()), ("value", pa.string()), (DAY, pa.date32())])


def columns(offsets: Sequence[int], days: Sequence[int] | int = 0, value: str = "") -> pa.RecordBatch:
    """One row for each offset; `days` since 1970-01-01, of each row or of all."""
    of_rows = [days] * len(offsets) if isinstance(days, int) else list(days)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(offsets, pa.int64()),
            pa.array([value or f"value {o}" for o in offsets], pa.string()),
            pa.array(of_rows, pa.date32()),
        ],
        schema=SCHEMA,
    )


def offsets_of(batches: Sequence[pa.RecordBatch | DayBatch]) -> list[int]:
    """The offsets in these columns, in their order."""
    plain = [b.batch if isinstance(b, DayBatch) else b for b in batches]
    return [offset for batch in plain for offset in batch.column("offset").to_pylist()]


class MemoryStorage:
    """Keeps what a spool writes, and checks that no data file spans two days."""

    def __init__(self) -> None:
        self.files: dict[str, list[int]] = {}
        """The offsets in each file, by path."""

    def write_file(self, batches: Sequence[pa.RecordBatch], day: int) -> DataFile:
        expected = date(1970, 1, 1) + timedelta(days=day)
        assert all(d == expected for b in batches for d in b.column(DAY).to_pylist()), "a data file spans two days"
        path = f"file-{len(self.files)}"
        self.files[path] = offsets_of(batches)
        size = sum(b.nbytes for b in batches)
        return DataFile(path, day, len(self.files[path]), size, {}, {}, {}, {}, {}, {}, ())
