"""Servers that are away while Neptune runs, for a while or for good: what it does, says, and exits with."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import pytest

from tests.services.neptune import Neptune, assert_stopped
from tests.services.servers import Platform
from tests.services.stage import Stage
from tests.services.traffic import Traffic, live_fleet

RATE = 500.0
ENDS_S_MAX = 60
"""The limits here are seconds; a busy machine adds to the tries and to the clients' own ends."""
IMPATIENT = {"NEPTUNE_REQUEST_TIMEOUT_S": "3"}


class Breakable(Protocol):
    """What the servers have in common here."""

    def kill(self) -> None: ...
    def start(self) -> object: ...
    def paused(self) -> AbstractContextManager[None]: ...


def _wait_noticed(neptune: Neptune, name: str) -> None:
    """Wait until the process says that the server is away: of Kafka the reader says it, or the commit that comes first."""

    def said() -> int:
        if name == "Kafka":
            return len(neptune.events("kafka_away")) + len(neptune.events("waiting", service="kafka"))
        return len(neptune.events("waiting"))

    before = said()
    neptune.wait_for(lambda: said() > before, f"{name} is away")


@contextmanager
def killed(server: Breakable) -> Iterator[None]:
    """Dead for the length of a `with` block; then it comes back on the same port with the same data."""
    server.kill()
    try:
        yield
    finally:
        server.start()


def frozen(server: Breakable) -> AbstractContextManager[None]:
    """Takes connections and answers nothing, for the length of a `with` block."""
    return server.paused()


def servers(platform: Platform) -> dict[str, Breakable]:
    return {"storage": platform.storage, "catalog": platform.catalog, "Kafka": platform.kafka}


@pytest.mark.parametrize("harm", [killed, frozen])
def test_an_outage_of_each_server_under_load_is_sat_out(
    stage: Stage, seed: int, harm: Callable[[Breakable], AbstractContextManager[None]]
) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        neptune = stage.start(**IMPATIENT, NEPTUNE_KAFKA_PROPERTIES='{"socket.timeout.ms": 3000}')
        neptune.wait_event("committed", count=2)
        for name, server in servers(stage.platform).items():
            with harm(server):
                _wait_noticed(neptune, name)
            commits = len(neptune.events("committed"))
            neptune.wait_event("committed", count=commits + 2, limit_s=90)
    stage.wait_caught_up(neptune)
    assert 60 in {e["limit_s"] for e in neptune.events("waiting")}, "the limit of a running process"
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_an_outage_that_is_longer_than_the_limit_ends_with_its_code_and_costs_nothing(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        for name, server in servers(stage.platform).items():
            neptune = stage.start(NEPTUNE_RETRY_S_MAX="3", **IMPATIENT)
            neptune.wait_event("committed", count=2)
            with killed(server):
                assert neptune.wait(ENDS_S_MAX) == 69, f"{name} is away: {neptune.tail()}"
            assert_stopped(neptune, "Unavailable", "NEPTUNE_RETRY_S_MAX" if name == "Kafka" else "does not answer")
    _land_the_rest(stage, traffic)


def test_a_signal_during_an_outage_of_kafka_ends_within_the_drains_limit_and_costs_nothing(
    stage: Stage, seed: int
) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    neptune = stage.start(NEPTUNE_DRAIN_S_MAX="4", **IMPATIENT)
    with traffic.load(live_fleet(seed, RATE), RATE):
        neptune.wait_event("committed", count=3)
        with killed(stage.kafka):
            _wait_noticed(neptune, "Kafka")
            # 0 if all that was read had been committed before.
            assert neptune.terminate(ENDS_S_MAX) in (0, 73), neptune.tail()
    _land_the_rest(stage, traffic)


def test_a_drain_during_an_outage_of_kafka_lands_what_was_read_once_kafka_is_back(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    neptune = stage.start(NEPTUNE_DRAIN_S_MAX="80", **IMPATIENT)
    with traffic.load(live_fleet(seed, RATE), RATE):
        neptune.wait_event("committed", count=2)
        with killed(stage.kafka):
            _wait_noticed(neptune, "Kafka")
            neptune.send(signal.SIGTERM)
            neptune.wait_event("draining")
        assert neptune.wait() == 0, neptune.tail()
    _land_the_rest(stage, traffic)


def test_a_drain_that_cannot_end_is_cut_off_and_costs_nothing(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        for by_limit in (True, False):
            neptune = stage.start(NEPTUNE_DRAIN_S_MAX="3" if by_limit else "60", **IMPATIENT)
            neptune.wait_event("committed", count=2)
            with killed(stage.platform.storage):
                neptune.wait_event("waiting")
                neptune.send(signal.SIGTERM)
                neptune.wait_event("draining")
                if not by_limit:
                    neptune.send(signal.SIGINT)
                assert neptune.wait(ENDS_S_MAX) == 73, neptune.tail()
            assert_stopped(neptune, "DrainTimeout", "nothing is lost")
    _land_the_rest(stage, traffic)


def _land_the_rest(stage: Stage, traffic: Traffic) -> None:
    """What a next start has to do, and that all is exact then."""
    again = stage.start()
    again.wait_event("started")
    stage.wait_caught_up(again)
    assert again.terminate() == 0, again.tail()
    stage.assert_exact(traffic.sent)
