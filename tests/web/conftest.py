"""A process's page without the process: real server, real routes, and vitals that the test writes as the flow's steps would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neptune_flow.health import HealthWatch
from neptune_flow.settings import Settings
from neptune_flow.telemetry import logs, register_secret
from neptune_flow.vitals import Phase, Vitals
from neptune_flow.web import POLICIES, Server, open_server, status_routes
from tests.web.browser import Browser, browser_or_skip


class Place:
    """One page and what it shows."""

    def __init__(self, **settings: str) -> None:
        # The tests' own process holds what it likes; that is no alert.
        self.settings = Settings.load({"NEPTUNE_MEMORY_BYTES_MAX": "64GiB", **settings})
        for secret in self.settings.secrets():
            register_secret(secret)
        self.vitals = Vitals(phase=Phase.RUNNING, commits_here=True)
        self._routes = status_routes(self.settings, self.vitals, HealthWatch(self.settings, self.vitals))
        self.server = self.open(0)

    def open(self, port: int) -> Server:
        """Serve; 0 chooses a port."""
        self.server = open_server("127.0.0.1", port, self._routes, POLICIES)
        return self.server

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/"


@pytest.fixture(autouse=True)
def _no_secrets_left() -> Iterator[None]:
    yield
    logs._secrets.clear()


@pytest.fixture
def place() -> Iterator[Place]:
    """A page with the default settings."""
    own = Place()
    yield own
    own.server.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    yield from browser_or_skip()
