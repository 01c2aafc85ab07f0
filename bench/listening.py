"""Who listens to a Neptune whose telemetry is all on: an OTLP receiver for metrics and traces, and one who scrapes `/metrics`.

Both live in the benchmark's process, so that what they take is not Neptune's. They ask more often than in production, where a scrape each 15 s
and a push each 60 s are usual.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.services.servers import free_port
from tests.telemetry.receiver import receiver

SCRAPE_INTERVAL_S = 5.0
PUSH_INTERVAL_S = 5.0
_ANSWER_S_MAX = 5.0


@contextmanager
def listening() -> Iterator[dict[str, str]]:
    """Yields the settings of a Neptune that tells everything. Raises AssertionError at the end where nothing was told."""
    port, stop = free_port(), threading.Event()
    scrapes: list[int] = []

    def scrape() -> None:
        while not stop.wait(SCRAPE_INTERVAL_S):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_ANSWER_S_MAX) as page:
                    scrapes.append(len(page.read()))
            except (urllib.error.URLError, OSError):
                continue  # it starts, or has ended

    scraper = threading.Thread(target=scrape, name="scraper")
    with receiver() as received:
        scraper.start()
        try:
            yield {
                "NEPTUNE_HTTP_PORT": str(port),
                "NEPTUNE_HTTP_HOST": "127.0.0.1",
                "OTEL_EXPORTER_OTLP_ENDPOINT": received.address,
                "OTEL_METRIC_EXPORT_INTERVAL": str(int(PUSH_INTERVAL_S * 1000)),
            }
        finally:
            stop.set()
            scraper.join()
        assert scrapes, "nothing was scraped"
        assert received.spans("commit "), "no trace came"
        assert received.metrics, "no metrics came"
