"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.telemetry import configure_logging
from tests.cli.shelf import TOPIC, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Two empty tables."""
    yield Shelf(tmp_path)
    configure_logging("WARNING", "json")


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    with InProcessBroker() as started:
        yield started


@pytest.fixture
def lake(shelf: Shelf, broker: InProcessBroker) -> Shelf:
    """Two empty tables, and an empty topic of four partitions."""
    broker.make_topic(TOPIC)
    shelf.kafka = broker.bootstrap_servers
    return shelf
