"""Probes: small questions to Kafka, storage and catalog, asked again and again by a thread each, which the process does not wait for at its end.

One thread a service, for good: a question that hangs holds up nobody else's, and no further one is asked meanwhile. Each question is bounded by
its client's timeouts; one that outlasts ANSWER_S_MAX all the same counts as not answered. Nothing is asked while the process starts: the
start asks the same services, and says whom it waits for (`vitals.outages`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from neptune_flow.errors import NeptuneError
from neptune_flow.health.judgement import Service, State
from neptune_flow.iceberg import Lake, TableReader
from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.probe import TopicProbe
from neptune_flow.settings import Settings
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import CATALOG, KAFKA, STORAGE, Vitals

log = get_logger("neptune.health")

PROBE_INTERVAL_S = 10.0
"""From an answer to the next question."""
AWAY_INTERVAL_S = 2.0
"""The same while the service is away, so that its return is seen soon; and how often it is looked whether the start is over."""
CPU_SHARE_MAX = 0.02
"""Of one core, for one service: metadata of a table with thousands of snapshots takes long to load, and is then asked for less often."""
STORAGE_TIMEOUT_S_MAX = 4.0
"""Many catalogs read the tables' metadata from the storage, and hang with it: so the storage's probe gives up sooner than the catalog's."""
ANSWER_S_MAX = 30.0
"""A question that hangs for so long counts as not answered."""


class Probe:
    """Asks one service, and remembers what came of it."""

    def __init__(self, name: str, ask: Callable[[], object]) -> None:
        """`ask` returns if the service is well, and raises what is wrong."""
        self.name = name
        self._ask = ask
        self._service = Service()
        self._asked_s: float | None = None
        self._cpu_s = deque([0.0], maxlen=2)
        """Of the last two questions: the first one of all also opens the client."""

    def service(self, now_s: float) -> Service:
        """What is known at `now_s`, seconds since 1970-01-01."""
        found, asked_s = self._service, self._asked_s
        if asked_s is None or now_s - asked_s <= ANSWER_S_MAX or found.state is State.AWAY:
            return found
        return Service(State.AWAY, asked_s, found.latency_ms, f"no answer for {now_s - asked_s:.0f} s")

    def ask_once(self) -> None:
        """Ask, and wait for what comes of it."""
        self._asked_s = time.time()
        began_s, cpu_before_s = time.perf_counter(), time.thread_time()
        try:
            self._ask()
        except NeptuneError as error:
            self._turn(State.AWAY, None, error.primary)
        except Exception as error:
            # A defect here must not look like a service that is well.
            if self._service.state is not State.AWAY:
                log.warning("probe_failed", service=self.name, exc_info=True)
            self._turn(State.AWAY, None, f"the question failed with {type(error).__name__}")
        else:
            self._turn(State.UP, (time.perf_counter() - began_s) * 1000, "")
        self._cpu_s.append(time.thread_time() - cpu_before_s)
        self._asked_s = None

    def pause_s(self) -> float:
        """How long to wait before the next question, seconds."""
        if self._service.state is not State.UP:
            return AWAY_INTERVAL_S
        return max(PROBE_INTERVAL_S, min(self._cpu_s) / CPU_SHARE_MAX)

    def _turn(self, state: State, latency_ms: float | None, error: str) -> None:
        turned_s = self._asked_s if state is State.AWAY else time.time()
        since_s = self._service.since_s if state is self._service.state else turned_s
        self._service = Service(state, since_s, latency_ms, error)

    def run(self, may_ask: Callable[[], bool]) -> None:
        """Ask for ever."""
        while True:
            if may_ask():
                self.ask_once()
            time.sleep(self.pause_s())


class Places:
    """The three questions, with clients of their own: the flow's are not touched."""

    def __init__(self, settings: Settings, vitals: Vitals) -> None:
        self._settings = settings
        self._vitals = vitals
        self._topic = TopicProbe(KafkaAddress.of(settings.kafka))
        self._reader: TableReader | None = None
        self._ask_files: Callable[[], object] | None = None
        self.readable: dict[int, int] = {}
        """What Kafka answered last: per partition, the offset after the last message that may be read."""

    def start(self, may_ask: Callable[[], bool]) -> tuple[Probe, ...]:
        """Begin to ask; the storage once the catalog has told where the table lies."""
        probes = Probe(KAFKA, self._ask_kafka), Probe(STORAGE, self._ask_storage), Probe(CATALOG, self._ask_table)
        for probe, is_known in zip(probes, (may_ask, lambda: self._ask_files is not None, may_ask), strict=True):
            threading.Thread(target=probe.run, args=[is_known], name=f"probe of {probe.name}", daemon=True).start()
        return probes

    def _ask_kafka(self) -> None:
        self.readable = self._topic.ask()
        # A flow that waits for its storage does not hear how Kafka's log grows; of partitions that others read it never does.
        for number, partition in tuple(self._vitals.partitions.items()):
            if partition.log_end is not None:
                partition.log_end = max(partition.log_end, self.readable.get(number, 0))

    def _ask_table(self) -> None:
        """Loads the table from the catalog, which is opened the first time."""
        reader = self._reader
        if reader is None:
            catalog = self._settings.catalog
            reader = Lake.of(self._settings).find_table(catalog.namespace, catalog.table)
            if reader is None:
                raise NeptuneError(f"table {'.'.join((*catalog.namespace, catalog.table))} does not exist")
        table = reader.load()
        self._reader = reader
        # With the credentials that the catalog has just given, if it gives any.
        timeout_s = str(min(self._settings.request_timeout_s, STORAGE_TIMEOUT_S_MAX))
        limits = {"s3.connect-timeout": timeout_s, "s3.request-timeout": timeout_s}
        files = type(table.io)({**table.io.properties, **limits})
        self._ask_files = files.new_input(table.location()).exists

    def _ask_storage(self) -> None:
        """Asks for the table's folder, an answer of any kind will do: some storages know no folders. Nothing is written."""
        assert self._reader is not None and self._ask_files is not None  # noqa: S101, PT018 - asked only then
        with self._reader.faults.during(f"looking at the folder of table {self._reader.name}"):
            self._ask_files()
