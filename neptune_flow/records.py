"""The things that flow from Kafka to the table, as values.

MessageBatch ─► Judged ─► Stretch, and the DataFile that a stretch refers to. All are immutable, all but MessageBatch can
be pickled (between workers, into the recovery store). Nothing here reads, writes or decides.

Units: offsets are Kafka offsets; a range `[first, next)` has `next` one above its last offset; event times and watermarks
are microseconds since 1970-01-01T00:00:00Z; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


class Message(Protocol):
    """What Kafka's client hands over for one message (`confluent_kafka.Message` has this shape)."""

    def value(self) -> bytes | None: ...
    def key(self) -> bytes | None: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]:
        """`(type, milliseconds since the epoch)`; type 0 means that there is none."""

    def headers(self) -> list[tuple[str, bytes | None]] | None: ...


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """What one poll of one Kafka partition returned: the contiguous offsets `[first, next)`.

    `next - first == len(messages) + left_out + refused_before + lost`.
    """

    partition: int
    first: int
    next: int
    messages: Sequence[Message]
    offsets: npt.NDArray[np.int64]
    """Offset of each message, ascending; shape `(len(messages),)`."""
    values: Sequence[bytes | None]
    """Value of each message, in order; None is a null value (tombstone)."""
    left_out: int = 0
    """Offsets in the range that Kafka itself leaves out (transaction markers, aborted and compacted records)."""
    refused_before: int = 0
    """Messages in the range that an earlier run has already quarantined; they are not in `messages`."""
    lost: int = 0
    """Offsets in the range that retention deleted before they were read."""
    start: bool = False
    """To be committed without waiting for a window: the empty first batch of a partition that the ledger does not know, which records where
    Neptune begins; and the batch with which all has been read that had waited in Kafka when this process began."""
    reading: str | None = None
    """On the first batch of a partition: what Kafka and the ledgers said of it (`ledger.reading_of`) to the process that reads it."""
    idle: bool = False
    """An empty batch that says: all of the log has been read, and no message has come for the idle timeout."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A message batch after the contract's verdict: every message is one row or one reject."""

    partition: int
    first: int
    next: int
    rows: pa.RecordBatch
    """Accepted messages in offset order, with the columns of the table; may have no row."""
    event_times: npt.NDArray[np.int64]
    """Event time of each row, microseconds; shape `(rows.num_rows,)`."""
    rejects: pa.RecordBatch
    """Refused messages in offset order, with the columns of the quarantine table; may have no row."""
    left_out: int = 0
    refused_before: int = 0
    lost: int = 0
    start: bool = False
    reading: str | None = None
    idle: bool = False


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file in a table's storage that no snapshot names yet; what a manifest entry needs to know of it.

    Field ids are the table's. Bounds are in Iceberg's single-value serialization.
    """

    path: str
    day: int
    """Partition value: days since 1970-01-01. A data file never spans two days."""
    record_count: int
    file_size_bytes: int
    column_sizes: dict[int, int]
    value_counts: dict[int, int]
    null_value_counts: dict[int, int]
    nan_value_counts: dict[int, int]
    lower_bounds: dict[int, bytes]
    upper_bounds: dict[int, bytes]
    split_offsets: tuple[int, ...]


class DayBatch(NamedTuple):
    """Columns whose rows all belong to one day."""

    day: int
    """Days since 1970-01-01."""
    batch: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Pile:
    """Rows of one table on their way to a commit: what is already in data files, and the tail that is not."""

    files: tuple[DataFile, ...] = ()
    tail: tuple[DayBatch, ...] = ()

    @property
    def rows(self) -> int:
        tail_rows: int = sum(b.batch.num_rows for b in self.tail)
        return sum(f.record_count for f in self.files) + tail_rows


@dataclass(frozen=True, slots=True)
class Stretch:
    """A contiguous range of offsets `[first, next)` of one Kafka partition, ready to be committed.

    `next - first == row_count + reject_count + refused_before + left_out + lost`. An empty range is a message too: it
    records where a partition begins, or moves its watermark.
    """

    partition: int
    first: int
    next: int
    row_count: int = 0
    reject_count: int = 0
    """Messages refused by this run; their raw bytes are in `rejects`."""
    refused_before: int = 0
    left_out: int = 0
    lost: int = 0
    late: int = 0
    """Rows of this stretch whose window had closed before they came."""
    watermark: int | None = None
    event_time_max: int | None = None
    idle: bool = False
    """The partition had no message for the idle timeout: it does not hold back the least watermark."""
    rows: Pile = field(default_factory=Pile)
    rejects: Pile = field(default_factory=Pile)
    reading: str | None = None
    """What the ledgers said of the partition to the process that collected it; None where nobody asks."""
