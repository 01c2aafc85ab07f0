"""The compose file with every profile; where Docker Compose's loader cannot be built the tests are skipped, in CI they fail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compose import COMPOSE, PROFILES, prepare, rendered
from tests.services.conftest import without_servers
from tests.services.servers import ServerError


@pytest.fixture(scope="session")
def loader() -> None:
    """Docker Compose's loader is there."""
    try:
        prepare()
    except ServerError as error:
        without_servers(error)


@pytest.fixture(scope="session")
def project(loader: None) -> dict[str, Any]:
    """The project with every profile."""
    return rendered(COMPOSE, *PROFILES)


@pytest.fixture(scope="session")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its services, by name."""
    found: dict[str, dict[str, Any]] = project["services"]
    return found
