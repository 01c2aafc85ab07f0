"""A real Prometheus for the tests of rules and dashboards; without one they are skipped, in CI they fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.observability.files import RULES
from tests.services.conftest import without_servers
from tests.services.servers import ServerError
from tests.services.servers.prometheus import Prometheus


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks Prometheus needs a server."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and "prometheus" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="package")
def prometheus() -> Iterator[Prometheus]:
    """One that scrapes nothing and has read the rules."""
    try:
        server = Prometheus({}, rules=[RULES]).start()
    except ServerError as error:
        without_servers(error)
    yield server
    server.close()
