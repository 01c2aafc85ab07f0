"""The image, built once for all tests; where that cannot be they are skipped, in CI they fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.container import Image, built
from tests.services.conftest import without_servers
from tests.services.servers import ServerError


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever runs the image needs more than Python."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and "image" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The image of this checkout."""
    try:
        with built() as found:
            yield found
    except ServerError as error:
        without_servers(error)
