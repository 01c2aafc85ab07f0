"""The catalogue's metrics in the OpenTelemetry SDK: for `/metrics` (Prometheus), and for OTLP where it is asked for.

Counters and gauges are read from the vitals when somebody looks; only the commits' durations are recorded as they come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from neptune_flow import __version__
from neptune_flow.telemetry.catalogue import COMMIT_DURATION, METRICS, Kind, Metric
from neptune_flow.telemetry.readings import COMMIT_PHASE, About, Seen
from neptune_flow.vitals import CommitFacts, Vitals

DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The metrics of one process.

    Args:
        vitals: whose numbers they are.
        about: what goes with them.
        resource: who speaks.
        readers: beside Prometheus's.
        more: text that the page ends with, in Prometheus's format.
    """

    def __init__(
        self,
        vitals: Vitals,
        about: About,
        resource: Resource,
        readers: Sequence[MetricReader] = (),
        *,
        more: Callable[[], bytes] = lambda: b"",
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._vitals, self._about, self._more, self._clock_s = vitals, about, more, clock_s
        self._registry = CollectorRegistry()
        self._looking = threading.Lock()
        scraped = PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)
        self.provider = MeterProvider([scraped, *readers], resource, shutdown_on_exit=False)
        self._meter = self.provider.get_meter("neptune", __version__)
        for metric in METRICS:
            if metric is not COMMIT_DURATION:
                self._make(metric)
        self._duration = self._meter.create_histogram(
            COMMIT_DURATION.name,
            COMMIT_DURATION.unit,
            COMMIT_DURATION.meaning,
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )
        vitals.on_commit.append(self._committed)

    def page(self) -> tuple[int, str, bytes]:
        """Status, content type and body of `/metrics`."""
        # Two scrapes at once would each get what both have collected.
        with self._looking:
            return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry) + self._more()

    def _make(self, metric: Metric) -> None:
        make = {
            Kind.COUNTER: self._meter.create_observable_counter,
            Kind.UP_DOWN: self._meter.create_observable_up_down_counter,
            Kind.GAUGE: self._meter.create_observable_gauge,
        }[metric.kind]

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            seen = Seen(self._vitals, self._about, self._clock_s())
            return [Observation(value, attributes) for value, attributes in metric.observe(seen)]

        make(metric.name, [observe], metric.unit, metric.meaning)

    def _committed(self, facts: CommitFacts) -> None:
        ends_s = {"write": facts.written_s, "quarantine": facts.quarantined_s, "table": facts.landed_s}
        began_s = facts.began_s
        for phase, end_s in ends_s.items():
            self._duration.record(max(0.0, end_s - began_s), {COMMIT_PHASE: phase})
            began_s = end_s
