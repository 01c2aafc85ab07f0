"""What is seen of a running Neptune from outside: its ledger as a reader of the catalog sees it, its processor time and memory, its lag.

Nothing here starts or stops Neptune, and nothing is judged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import psutil
from confluent_kafka import Consumer, TopicPartition

from neptune_flow.iceberg import Lake, TableReader
from neptune_flow.settings import Settings

LOOK_INTERVAL_S = 0.1
"""Between two questions to the catalog: what a freshness may be too high by."""
ANSWER_S_MAX = 30.0


@dataclass(frozen=True)
class Seen:
    """A ledger that was not there at the last look."""

    time_s: float
    next: dict[int, int]
    """Per Kafka partition."""


def table_of(environment: Mapping[str, str]) -> TableReader | None:
    """The table of rows that these settings name."""
    settings = Settings.load(environment)
    return Lake.of(settings).find_table(settings.catalog.namespace, settings.catalog.table)


class Watch(threading.Thread):
    """Looks at the table's ledger again and again, for the length of a `with` block."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(name="watch", daemon=True)
        self._environment = environment
        self._end = threading.Event()
        self.seen: list[Seen] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self.join()

    @property
    def landed(self) -> int:
        """Messages that the ledger has passed, of a topic that began at offset 0."""
        return sum(self.seen[-1].next.values()) if self.seen else 0

    def run(self) -> None:
        table = table_of(self._environment)
        while not self._end.wait(LOOK_INTERVAL_S):
            if table is None:
                table = table_of(self._environment)
                continue
            ledger = table.read_ledger()
            following = {p: e.next for p, e in ledger.entries.items()} if ledger else {}
            if following and (not self.seen or following != self.seen[-1].next):
                self.seen.append(Seen(time.time(), following))

    def freshness_s(self, begin_s: float, end_s: float) -> npt.NDArray[np.float64]:
        """Of each row that was produced in a span of time, the seconds until it was seen in the table."""
        table = table_of(self._environment)
        assert table is not None
        kafka = table.to_arrow(["_kafka"]).column("_kafka").combine_chunks()
        partition = kafka.field("partition").to_numpy()
        offset = kafka.field("offset").to_numpy()
        produced_s = kafka.field("timestamp").cast("timestamp[us]").cast("int64").to_numpy() / 1e6
        in_span = (begin_s <= produced_s) & (produced_s < end_s)
        partition, offset, produced_s = partition[in_span], offset[in_span], produced_s[in_span]
        times_s = np.array([s.time_s for s in self.seen])
        fresh_s = np.empty(len(offset))
        for p in np.unique(partition):
            nexts = np.array([s.next.get(int(p), 0) for s in self.seen])
            of_p = partition == p
            fresh_s[of_p] = times_s[np.searchsorted(nexts, offset[of_p], side="right")] - produced_s[of_p]
        return fresh_s


class LogEnds:
    """How many messages a topic holds."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "watch"})
        self._partitions = [TopicPartition(topic, p) for p in range(partitions)]

    def messages(self) -> int:
        ends = (self._consumer.get_watermark_offsets(p, timeout=ANSWER_S_MAX) for p in self._partitions)
        return sum(end[1] for end in ends if end is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()


def cpu_s(pid: int) -> float:
    """Processor seconds of a process since its start."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
