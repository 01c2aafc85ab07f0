"""`python -m tests.services.collector`: a real Neptune sends metrics and traces to a real collector, which must have understood them all."""

from __future__ import annotations

import secrets
import sys
import tempfile
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from neptune_flow.simulator import Fleet
from neptune_flow.telemetry.catalogue import METRICS
from tests.services.collector import Collector
from tests.services.neptune import wait_for
from tests.services.servers import Platform
from tests.services.stage import Stage
from tests.services.traffic import Note

MESSAGES = 200
EVENTUALLY = {"neptune.stops", "neptune.retries", "neptune.outage.age"}
"""Metrics that a run without trouble has only at its end, or not at all."""


def main() -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    headers = (("traceparent", f"00-{trace_id}-{span_id}-01".encode()),)
    fleet = Fleet(3, start=datetime.now(UTC), bad_share=0.1)
    with Platform() as platform, Collector() as collector, tempfile.TemporaryDirectory() as scratch:
        platform.storage.create_bucket(platform.bucket)
        stage = Stage(platform, f"collected_{secrets.token_hex(3)}", Path(scratch))
        stage.create_topic(2)
        neptune = stage.start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.address, OTEL_METRIC_EXPORT_INTERVAL="1000")
        notes = [Note(m.value, m.key, headers=headers, refusal=m.bad and m.bad.reason) for m in islice(fleet, MESSAGES)]
        stage.traffic().send(notes)
        stage.wait_caught_up(neptune)
        assert neptune.terminate() == 0, neptune.tail()
        traces = {line["trace_id"] for line in neptune.events("committed")}
        wait_for(
            lambda: traces <= {s["traceId"] for s in collector.spans()}, "the collector has every commit's trace", 30
        )
        found = list(collector.spans())
        links = {(link["traceId"], link["spanId"]) for span in found for link in span.get("links", [])}
        assert links == {(trace_id, span_id)}, links
        newest = {metric["name"]: metric for metric in collector.metrics()}
        missing = {metric.name for metric in METRICS} - EVENTUALLY - set(newest)
        assert not missing, missing
        refused = sum(note.refusal is not None for note in notes)
        assert total(newest["neptune.rows"]) == MESSAGES - refused
        assert total(newest["neptune.rejects"]) == refused
    sys.stdout.write(
        f"the collector has {len(traces)} traces of {len(found)} spans, linked to the producer's, and {len(newest)} metrics\n"
    )


def total(metric: dict[str, Any]) -> int:
    """The sum of a counter's points."""
    return sum(int(point["asInt"]) for point in metric["sum"]["dataPoints"])


if __name__ == "__main__":
    main()
