"""Several Neptunes share a topic as members of one consumer group: partitions move, nothing is lost or doubled."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from itertools import islice

import pyarrow as pa
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from tests.services.neptune import ROOT, Neptune, assert_stopped, inherited, wait_for
from tests.services.stage import Stage
from tests.services.test_outage import killed
from tests.services.traffic import live_fleet

GROUP = ("-m", "neptune_flow", "run", "--group")
PARTITIONS = 8
SESSION_S = "6"
GRACE_S = 0.3
"""A node that is evicted in a hurry: most drains take longer."""
START_S_MAX = 5


def start(stage: Stage, **changes: str) -> Neptune:
    return stage.start(command=GROUP, NEPTUNE_SESSION_TIMEOUT_S=SESSION_S, NEPTUNE_WINDOW_S="1", **changes)


def shares(processes: list[Neptune]) -> list[int]:
    """How many partitions each has, by what it last said."""
    events = [[e for e in p.events() if e["event"] in ("partitions_assigned", "partitions_revoked")] for p in processes]
    return [len(said[-1]["now"]) if said else 0 for said in events]


def wait_for_shares(processes: list[Neptune], expected: list[int]) -> None:
    wait_for(lambda: sorted(shares(processes)) == sorted(expected), f"shares of {expected}", 60)


def test_from_one_to_four_to_two_with_kills_among_them_every_message_lands_once(stage: Stage, seed: int) -> None:
    stage.create_topic(PARTITIONS)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, 500), 500):
        first = start(stage)
        first.wait_event("committed")
        wait_for_shares([first], [8])
        others = [start(stage) for _ in range(3)]
        wait_for_shares([first, *others], [2, 2, 2, 2])
        for process in [first, *others]:
            process.wait_event("committed")
        others[0].kill()
        rest = [first, *others[1:]]
        wait_for_shares(rest, [3, 3, 2])
        assert others[1].terminate() == 0, others[1].tail()
        wait_for_shares([first, others[2]], [4, 4])
    left = [first, others[2]]
    wait_for(lambda: caught_up(stage), "all landed", 60)
    assert [p.terminate() for p in left] == [0, 0], left[0].tail() + left[1].tail()
    stage.assert_exact(traffic.sent)
    wait_for(lambda: stage.group_offsets() == {p: e["next"] for p, e in stage.ledger().items()}, "published", 10)


def add_partitions(stage: Stage, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": stage.kafka.bootstrap})
    admin.create_partitions([NewPartitions(stage.topic, count)])[stage.topic].result(30)


def caught_up(stage: Stage) -> bool:
    ledger = stage.ledger()
    return all(ledger.get(p, {}).get("next") == end for p, end in stage.log_ends().items())


def test_a_member_that_was_frozen_for_longer_than_its_session_lands_nothing_of_what_others_took(
    stage: Stage, seed: int
) -> None:
    stage.create_topic(4)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, 300), 300):
        frozen, other = start(stage), start(stage)
        wait_for_shares([frozen, other], [2, 2])
        frozen.wait_event("committed")
        with frozen.paused():
            wait_for_shares([other], [4])
            count = len(other.events("committed"))
            other.wait_event("committed", count=count + 3)
        wait_for_shares([frozen, other], [2, 2])
    wait_for(lambda: caught_up(stage), "all landed", 60)
    assert [p.terminate() for p in (frozen, other)] == [0, 0], frozen.tail() + other.tail()
    stage.assert_exact(traffic.sent)


def test_partitions_that_are_added_are_landed_without_a_restart(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    traffic.send(islice(live_fleet(seed, 100), 100))
    process = start(stage)
    wait_for_shares([process], [2])
    add_partitions(stage, 4)
    wait_for_shares([process], [4])
    # A producer that is there already would learn of them only after minutes.
    later = stage.traffic()
    later.send(islice(live_fleet(seed + 1, 100), 100), partition=3)
    wait_for(lambda: caught_up(stage), "all landed", 60)
    assert process.terminate() == 0, process.tail()
    stage.assert_exact([*traffic.sent, *later.sent])


def test_a_restart_of_a_static_member_moves_no_partition(stage: Stage, seed: int) -> None:
    stage.create_topic(4)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, 200), 200):
        rolled, other = start(stage, NEPTUNE_GROUP_INSTANCE_ID="a"), start(stage, NEPTUNE_GROUP_INSTANCE_ID="b")
        wait_for_shares([rolled, other], [2, 2])
        other.wait_event("committed")
        before = moves(other)
        assert rolled.terminate() == 0, rolled.tail()
        back = start(stage, NEPTUNE_GROUP_INSTANCE_ID="a")
        wait_for_shares([back], [2])
        back.wait_event("committed")
        assert moves(other) == before
    wait_for(lambda: caught_up(stage), "all landed", 60)
    assert [p.terminate() for p in (back, other)] == [0, 0], back.tail() + other.tail()
    stage.assert_exact(traffic.sent)


def test_two_processes_of_one_instance_id_are_told_apart(stage: Stage) -> None:
    stage.create_topic(2)
    first = start(stage, NEPTUNE_GROUP_INSTANCE_ID="same")
    wait_for_shares([first], [2])
    second = start(stage, NEPTUNE_GROUP_INSTANCE_ID="same")
    wait_for_shares([second], [2])
    assert first.wait() == 75, first.tail()
    assert_stopped(first, "Superseded", "NEPTUNE_GROUP_INSTANCE_ID")
    assert second.terminate() == 0, second.tail()


def test_a_rolling_update_an_eviction_and_a_scale_down_lose_and_double_nothing(stage: Stage, seed: int) -> None:
    stage.create_topic(6)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, 300), 300):
        members = {name: start(stage, NEPTUNE_GROUP_INSTANCE_ID=name) for name in "abc"}
        wait_for_shares([*members.values()], [2, 2, 2])
        for name, process in members.items():
            assert process.terminate() == 0, process.tail()
            members[name] = back = start(stage, NEPTUNE_GROUP_INSTANCE_ID=name)
            wait_for_shares([back], [2])
            back.wait_event("committed")
        evict(members["b"])
        members["b"] = start(stage, NEPTUNE_GROUP_INSTANCE_ID="b")
        members["b"].wait_event("committed")
        assert members.pop("c").terminate() == 0
        wait_for_shares([*members.values()], [3, 3])
    wait_for(lambda: caught_up(stage), "all landed", 60)
    assert [p.terminate() for p in members.values()] == [0, 0]
    stage.assert_exact(traffic.sent)
    assert verify(stage) == 0


def evict(process: Neptune) -> None:
    """SIGTERM, and SIGKILL when the grace is over."""
    process.send(signal.SIGTERM)
    try:
        process.wait(GRACE_S)
    except AssertionError:
        process.kill()


def verify(stage: Stage) -> int:
    """Neptune's own verdict on the tables, whole."""
    command = [sys.executable, "-m", "neptune_flow", "verify"]
    environment = {**inherited(), **stage.settings()}
    return subprocess.run(command, cwd=ROOT, env=environment, timeout=120, check=False).returncode


def test_a_round_that_begins_in_an_outage_sits_it_out_as_a_running_process_does(stage: Stage) -> None:
    """The start's own limit is over long before the catalog is back."""
    stage.create_topic(2)
    limits = {"NEPTUNE_REQUEST_TIMEOUT_S": "1", "NEPTUNE_START_WAIT_S_MAX": str(START_S_MAX)}
    left, dies = start(stage, **limits), start(stage, **limits)
    wait_for_shares([left, dies], [1, 1])
    wait_for(lambda: caught_up(stage), "the group has begun", 60)
    with killed(stage.platform.catalog):
        dies.kill()
        wait_for_shares([left], [2])
        left.wait_for(lambda: left.events("waiting", limit_s=60.0), "waiting as a running process")
        since_s = time.monotonic()
        left.wait_for(lambda: time.monotonic() - since_s > START_S_MAX + 2, "longer than a start would wait")
    traffic = stage.traffic()
    traffic.send(islice(live_fleet(1, 100), 50))
    wait_for(lambda: caught_up(stage), "all landed", 60)
    assert left.terminate() == 0, left.tail()
    stage.assert_exact(traffic.sent)


def test_a_process_whose_table_does_not_fit_ends_before_it_joins(stage: Stage) -> None:
    stage.create_topic(2)
    stage.catalog.create_namespace_if_not_exists("default")
    stage.catalog.create_table(("default", stage.table), pa.schema([pa.field("start_lat", pa.string())]))
    process = start(stage)
    assert process.wait() == 78, process.tail()
    assert_stopped(process, "TableMismatch")
    assert not process.events("partitions_assigned")


def test_bytewaxs_own_command_says_that_it_lands_all_of_the_topic(stage: Stage) -> None:
    stage.create_topic(2)
    process = stage.start(NEPTUNE_GROUP_MODE="true")
    process.wait_event("group_mode_not_used")
    assert process.wait_event("started")["partitions"] == 2
    assert process.terminate() == 0, process.tail()


def moves(process: Neptune) -> int:
    return sum(e["event"] in ("partitions_assigned", "partitions_revoked") for e in process.events())


def test_of_two_groups_on_one_table_the_one_that_never_commits_ends(stage: Stage, seed: int) -> None:
    """Nobody runs on, ready, and lands nothing."""
    stage.create_topic(2)
    traffic = stage.traffic()
    limits = {"NEPTUNE_RETRY_S_MAX": "8", "NEPTUNE_REQUEST_TIMEOUT_S": "4"}
    with traffic.load(live_fleet(seed, 200), 200):
        ours = start(stage, **limits)
        ours.wait_event("committed")
        other = start(stage, KAFKA_CONSUMER_GROUP="another", **limits)
        wait_for(lambda: {ours.exit_code, other.exit_code} != {None}, "one has ended", 90)
        ended, left = (ours, other) if other.exit_code is None else (other, ours)
        assert ended.exit_code == 75, ended.tail()
        assert ended.events("round_superseded")[-1]["hint"].startswith("if it comes again and again, another group")
    stage.wait_caught_up(left)
    assert left.terminate() == 0, left.tail()
    stage.assert_exact(traffic.sent)


def test_a_member_whose_topic_was_deleted_says_so_and_ends(stage: Stage) -> None:
    stage.create_topic(2)
    member = start(stage, NEPTUNE_RETRY_S_MAX="8", NEPTUNE_REQUEST_TIMEOUT_S="4")
    member.wait_event("committed")
    stage.kafka.delete_topic(stage.topic)
    assert member.wait(90) == 69, member.tail()
    assert_stopped(member, "Unavailable", "topic")
