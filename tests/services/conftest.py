"""Fixtures of the service tests: real servers, once for all tests, and a stage of its own for each test.

Where a server cannot be had the tests are skipped with the reason; in CI (`CI=true`) that is a failure instead, so that a green run
has always met the servers.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.servers import Credentials, KafkaCluster, Platform, ServerError, object_storage
from tests.services.stage import Stage

_HERE = Path(__file__).parent
_CREDENTIALS = Credentials("neptune-of-the-tests", "known-to-nobody-else")
"""Not the documented defaults: those are public, and Neptune does not hide them in its log."""
_KAFKA = {"log.cleaner.backoff.ms": "200"}
"""Compaction is looked for five times a second instead of every 15 seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs the servers."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """Kafka, object storage and REST catalog, started once."""
    try:
        servers = Platform(KafkaCluster(properties=_KAFKA), object_storage(credentials=_CREDENTIALS)).start()
    except ServerError as error:
        without_servers(error)
    servers.storage.create_bucket(servers.bucket)
    yield servers
    servers.close()


@pytest.fixture
def stage(platform: Platform, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A topic name, table names and processes of this test's own; the topic is not created yet."""
    own = Stage(platform, own_name(request), tmp_path)
    yield own
    own.close()


@pytest.fixture
def seed() -> int:
    """A new seed for each run, printed so that a failure can be had again: `NEPTUNE_TEST_SEED`."""
    chosen = int(os.environ.get("NEPTUNE_TEST_SEED") or secrets.randbelow(2**31))
    print(f"NEPTUNE_TEST_SEED={chosen}")
    return chosen


def own_name(request: pytest.FixtureRequest) -> str:
    """A name for the test's topic and tables, told apart from an earlier run's."""
    words = re.sub(r"[^a-z0-9]+", "_", request.node.name.removeprefix("test_").lower()).strip("_")
    return f"{words[:40]}_{secrets.token_hex(3)}"


def without_servers(error: ServerError) -> None:
    """Skip for want of a server; in CI, fail."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"a server is missing: {error}")
    pytest.skip(f"a server is missing: {error}")
