"""Metrics and traces of one process, wired: who speaks, where it goes, and the last flush.

What is sent has its own threads and bounded queues, and never holds the flow up. At the end, what is left is sent within FLUSH_S_MAX; the process
then ends, whatever the receiver does.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from neptune_flow.telemetry import engine, otlp
from neptune_flow.telemetry.logs import register_secret
from neptune_flow.telemetry.metrics import Metrics
from neptune_flow.telemetry.readings import About
from neptune_flow.telemetry.traces import Traces
from neptune_flow.vitals import Vitals

FLUSH_S_MAX = 2.0


class Signals:
    """What one process tells beside its log.

    Raises:
        SettingsError: a variable asks for what cannot be had.
    """

    def __init__(self, vitals: Vitals, about: About) -> None:
        asked = otlp.asked()
        for secret in otlp.secrets_of():
            register_secret(secret)
        # Where a receiver is away the exporters would warn of each of their tries; their errors say enough.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        engine_port = engine.prepare(os.environ)
        resource = otlp.resource()
        readers = [_metrics_by_otlp()] if asked.metrics else []
        engines = (lambda: b"") if engine_port is None else (lambda: engine.metrics_text(engine_port))
        self.metrics = Metrics(vitals, about, resource, readers, more=engines)
        self.traces = Traces(vitals, about, resource, _traces_by_otlp()) if asked.traces else None
        sending: list[Callable[[], object]] = [reader.force_flush for reader in readers]
        if self.traces:
            sending.append(self.traces.provider.force_flush)
        self._last = LastFlush(sending)
        atexit.register(self.flush)

    def flush(self) -> None:
        """Send what is left, for at most FLUSH_S_MAX; the end of the interpreter calls it."""
        self._last.run(FLUSH_S_MAX)


# The exporters take a thirtieth of all imports of a start, and are seldom asked for.


def _metrics_by_otlp() -> PeriodicExportingMetricReader:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _traces_by_otlp() -> BatchSpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return BatchSpanProcessor(OTLPSpanExporter())


class LastFlush:
    """Sends what is left, once, at the end of the process.

    Its threads are made at the beginning: an interpreter that ends makes none (Python 3.12).
    """

    def __init__(self, sending: Sequence[Callable[[], object]]) -> None:
        self._begin = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=[send], name="last-flush", daemon=True) for send in sending
        ]
        for thread in self._threads:
            thread.start()

    def run(self, limit_s: float) -> None:
        """Send, and wait at most so long; a second call waits for the first."""
        deadline_s = time.monotonic() + limit_s
        self._begin.set()
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _send(self, send: Callable[[], object]) -> None:
        self._begin.wait()
        send()
