"""A receiver of OTLP over HTTP, as small as it can be: decodes what comes with OpenTelemetry's own protocol classes, and keeps it.

It may be told to hang, or to refuse. For a receiver that shares nothing with the sender see `tests/services/test_collector.py`.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Span = Any
"""`opentelemetry.proto.trace.v1.Span`."""


class Receiver:
    """What has come, oldest first."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.go_on = threading.Event()
        """While it is not set, requests hang."""
        self.go_on.set()

    def spans(self, name: str = "") -> list[Span]:
        """All spans, or those whose names begin so."""
        found = [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return [span for span in found if span.name.startswith(name)]

    def resource(self) -> dict[str, Any]:
        """The attributes of who sent last."""
        groups = [
            *(r for q in self.traces for r in q.resource_spans),
            *(r for q in self.metrics for r in q.resource_metrics),
        ]
        return attributes(groups[-1].resource)

    def numbers(self, name: str) -> dict[tuple[str, ...], float]:
        """A metric's newest points: the values of its attributes, in the order of their names, and the number."""
        found = {}
        for request in self.metrics:
            for group in request.resource_metrics:
                for metric in (m for scope in group.scope_metrics for m in scope.metrics if m.name == name):
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    for point in points:
                        values = tuple(str(v) for _, v in sorted(attributes(point).items()))
                        found[values] = point.sum if hasattr(point, "sum") else (point.as_int or point.as_double)
        return found


def attributes(of: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {a.key: _plain(a.value) for a in of.attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(v) for v in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.kept = Receiver(f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.kept  # type: ignore[attr-defined]
    finally:
        server.kept.go_on.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        kept: Receiver = self.server.kept  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        kept.go_on.wait()
        kept.headers.append(dict(self.headers))
        if self.path == "/v1/traces":
            kept.traces.append(ExportTraceServiceRequest.FromString(body))
        elif self.path == "/v1/metrics":
            kept.metrics.append(ExportMetricsServiceRequest.FromString(body))
        else:
            self.send_error(404)
            return
        self.send_response(kept.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""
