"""Several workers, in one process and in a cluster of two: the same messages land, exact, and a drain is in good order."""

from __future__ import annotations

import signal

import pytest

from tests.services.neptune import Neptune, wait_for
from tests.services.oracle import assert_exact
from tests.services.servers import free_port
from tests.services.stage import Stage
from tests.services.traffic import live_fleet

RATE = 1500.0
SHAPES = ("two workers", "two processes")


def start(stage: Stage, shape: str) -> list[Neptune]:
    """The processes of one execution."""
    if shape == "two workers":
        return [stage.start("-w", "2")]
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    return [stage.start("-i", str(number), "-a", addresses) for number in range(2)]


def drain(processes: list[Neptune]) -> list[int]:
    """SIGTERM to all; their exit codes."""
    for process in processes:
        process.send(signal.SIGTERM)
    return [process.wait() for process in processes]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drain_under_load_leaves_a_prefix_and_the_next_start_lands_the_rest(
    stage: Stage, seed: int, shape: str
) -> None:
    stage.create_topic(5)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE, late_share=0.01), RATE):
        processes = start(stage, shape)
        wait_for(lambda: sum(len(p.events("committed")) for p in processes) >= 3, "three commits")
        assert drain(processes) == [0] * len(processes), processes[0].tail()
    ledger = stage.ledger()
    assert_exact([s for s in traffic.sent if s.offset < ledger[s.partition]["next"]], stage.landed())

    processes = start(stage, shape)
    stage.wait_caught_up(processes[0])
    assert drain(processes) == [0] * len(processes), processes[0].tail()
    stage.assert_exact(traffic.sent)


def test_all_partitions_of_two_workers_share_one_commit(stage: Stage, seed: int) -> None:
    stage.create_topic(4)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        neptune = stage.start("-w", "2")
        neptune.wait_for(
            lambda: any(e["partitions"] > 1 and e["rows"] for e in neptune.events("committed")),
            "a commit of several",
            40,
        )
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    assert all(e["lost_races"] == 0 for e in neptune.events("committed"))
    stage.assert_exact(traffic.sent)
