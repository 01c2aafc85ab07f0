"""Health and page of a real process, while real servers are taken away and given back."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from neptune_flow.health.judgement import COMMIT_ALLOWANCE_S
from neptune_flow.health.probes import PROBE_INTERVAL_S
from tests.services.neptune import Neptune
from tests.services.servers import Platform
from tests.services.servers.process import HOST, free_port
from tests.services.stage import QUICK, Stage
from tests.services.traffic import live_fleet
from tests.web.browser import Browser, browser_or_skip

RATE = 500.0
PATIENT = {
    "NEPTUNE_REQUEST_TIMEOUT_S": "3",
    "NEPTUNE_RETRY_S_MAX": "200",
    "NEPTUNE_KAFKA_PROPERTIES": '{"socket.timeout.ms": 3000}',
}
NOTICED_S_MAX = PROBE_INTERVAL_S + 25.0
"""From the outage to its being told: the next question, its time-out, and a busy machine."""
OVERDUE_S_MAX = float(QUICK["NEPTUNE_COMMIT_AGE_S_MAX"]) + COMMIT_ALLOWANCE_S + 25.0


class Outside:
    """A process with its port open, and who looks at it from outside."""

    def __init__(self, stage: Stage, *options: str, **changes: str) -> None:
        self.port = free_port()
        own = {"NEPTUNE_HTTP_PORT": str(self.port), "NEPTUNE_HTTP_HOST": HOST}
        self.neptune: Neptune = stage.start(*options, **own, **PATIENT, **changes)

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body; 0 while nothing listens."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("/healthz")[1])
        return found

    def states(self) -> tuple[str, ...]:
        found = self.health()
        return tuple(found[name]["state"] for name in ("kafka", "storage", "table"))

    def wait_error(self, name: str, words: str) -> None:
        """Wait until the error of a service has these words."""
        self.neptune.wait_for(lambda: words in self.health()[name]["error"], f"{name}: {words}", NOTICED_S_MAX)

    def wait_ready(self, is_ready: bool, words: str = "", limit_s: float = NOTICED_S_MAX) -> None:
        """Wait for 200 or 503 with these words."""

        def says_so() -> bool:
            status, body = self.ask("/readyz")
            return status == (200 if is_ready else 503) and words in body

        self.neptune.wait_for(says_so, f"ready: {is_ready} {words}", limit_s)

    def wait_states(self, *states: str, limit_s: float = NOTICED_S_MAX) -> None:
        self.neptune.wait_for(lambda: self.states() == states, f"Kafka, storage, table are {states}", limit_s)


@pytest.fixture
def platform_that_is_mended(platform: Platform) -> Iterator[Platform]:
    """Whatever a test has taken away is there again for the next."""
    yield platform
    platform.catalog.resume()
    for server in (platform.kafka, platform.storage, platform.catalog):
        if not server.is_running:
            server.start()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for these tests."""
    yield from browser_or_skip()


def test_readiness_and_health_turn_with_each_server_that_goes_and_comes_back(
    stage: Stage, platform_that_is_mended: Platform, seed: int
) -> None:
    kafka, storage, catalog = stage.kafka, stage.platform.storage, stage.platform.catalog
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        catalog.kill()
        outside = Outside(stage, "-w", "2", NEPTUNE_START_WAIT_S_MAX="60")
        outside.wait_ready(False, "starting\ncatalog has been away for ")
        assert outside.health()["service"]["state"] == "starting"
        catalog.start()
        outside.wait_ready(True)
        outside.wait_states("up", "up", "up")
        outside.neptune.wait_event("committed", count=2)

        storage.kill()
        kafka.kill()
        with catalog.paused():
            outside.wait_states("away", "away", "away")
            assert outside.ask("/readyz")[0] == 503
            # The flow's own words may come first; those of the probes name the address.
            for name, address in (("kafka", kafka.bootstrap), ("storage", storage.endpoint), ("table", catalog.uri)):
                outside.wait_error(name, address)
            outside.wait_ready(False, "running but not committing", OVERDUE_S_MAX)
            assert outside.ask("/livez") == (200, "alive\n"), "a restart would not mend it"
            # The catalog reads from the storage, so that comes back first.
            storage.start()
            outside.wait_states("away", "up", "away")
        outside.wait_states("away", "up", "up")
        kafka.start()
        outside.wait_states("up", "up", "up", limit_s=60)
        outside.wait_ready(True)
    stage.wait_caught_up(outside.neptune)
    found = outside.health()
    assert found["lag"]["messages"] == 0
    assert found["quarantine"]["rejects"] + found["quarantine"]["rows"] >= len(traffic.sent)
    assert outside.neptune.terminate() == 0, outside.neptune.tail()
    assert [e["port"] for e in outside.neptune.events("http_open")] == [outside.port], "one server, two workers"
    stage.assert_exact(traffic.sent)


def test_the_page_shows_a_real_process_its_trouble_its_drain_and_its_end(
    stage: Stage,
    platform_that_is_mended: Platform,
    seed: int,
    browser: Browser,
) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        outside = Outside(stage)
        neptune, catalog = outside.neptune, stage.platform.catalog
        neptune.wait_event("committed", count=2)
        browser.shape(1200, 900)
        browser.open(f"http://{HOST}:{outside.port}/")
        browser.wait_text("Data lands.", "#word")
        first = _rows_landed(browser)
        browser.wait_for(f"({_ROWS}) > {first}")
        assert f"{stage.topic} → default.{stage.table}" in browser.text("#where")
        assert browser.text("#partitions").count("\n") >= 2
        with catalog.paused():
            browser.wait_text("Data may not land.", "#word", NOTICED_S_MAX)
            browser.wait_text("catalog has been away", "#reasons")
            neptune.send(signal.SIGTERM)
            browser.wait_text("Draining", "#word")
            assert outside.ask("/readyz")[1].startswith("draining after SIGTERM")
    assert neptune.wait() == 0, neptune.tail()
    browser.wait_text("The process does not answer.", "#word")
    assert "•" not in browser.text("#samples"), "a mask is in words"


_ROWS = "+[...document.querySelectorAll('#route text')].find(t => t.textContent === 'rows landed').previousSibling.textContent.replaceAll(',', '')"


def _rows_landed(browser: Browser) -> int:
    return int(browser.run(_ROWS))
