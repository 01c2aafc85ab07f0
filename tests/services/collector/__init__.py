"""The OpenTelemetry Collector as a receiver that shares no code with the sender: a check by hand, `python -m tests.services.collector`.

It is built with Go from `main.go`, which takes minutes the first time, so the tests use a small receiver instead (`tests/telemetry/receiver.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.services.servers import fetch
from tests.services.servers.process import HOST, Server, accepts_connections, free_port

VERSION = "v0.161.0"
"""As in go.mod."""
_CONFIGURATION = """\
receivers:
  otlp: {{protocols: {{http: {{endpoint: {host}:{port}}}}}}}
exporters:
  file/traces: {{path: {directory}/traces.json}}
  file/metrics: {{path: {directory}/metrics.json}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file/traces]}}
    metrics: {{receivers: [otlp], exporters: [file/metrics]}}
"""


def prepare() -> Path:
    """The program; built if need be. Raises `ServerError` where that fails."""
    return fetch.go_program("collector", VERSION, Path(__file__).parent)


class Collector(Server):
    """A collector that writes what it receives into files."""

    name = "collector"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    @property
    def address(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        """Build it, and write its configuration."""
        prepare()
        text = _CONFIGURATION.format(host=HOST, port=self.port, directory=self.directory)
        (self.directory / "collector.yaml").write_text(text)

    def command(self) -> Sequence[str]:
        """The collector's command line."""
        return (str(prepare()), "--config", f"file:{self.directory / 'collector.yaml'}")

    def is_ready(self) -> bool:
        """Whether it listens."""
        return accepts_connections(self.port)

    def spans(self) -> Iterator[dict[str, Any]]:
        """The spans that it has written, in OTLP's JSON form."""
        for group in self._written("traces.json", "resourceSpans"):
            for scope in group["scopeSpans"]:
                yield from scope["spans"]

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The metrics that it has written, newest last."""
        for group in self._written("metrics.json", "resourceMetrics"):
            for scope in group["scopeMetrics"]:
                yield from scope["metrics"]

    def _written(self, name: str, groups: str) -> Iterator[dict[str, Any]]:
        file = self.directory / name
        text = file.read_text() if file.exists() else ""
        # The last line may be half written.
        for line in text[: text.rfind("\n") + 1].splitlines():
            yield from json.loads(line)[groups]
