"""The verdict, from numbers alone: when a process is alive, when it is ready, and in which words it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune_flow.health import Limits, Seen, Service, State, Verdict, judge, report
from neptune_flow.health.judgement import COMMIT_ALLOWANCE_S, PAUSED_AFTER_S, STUCK_AFTER_S
from neptune_flow.vitals import SERVICES, Outage, Phase, Vitals

NOW_S = 1_800_000_000.0
LIMITS = Limits(commit_age_s_max=60.0, retry_s_max=300.0)
UP = {name: Service(State.UP, NOW_S - 100, 2.0) for name in SERVICES}
LONG_S = STUCK_AFTER_S + 1


def running() -> Vitals:
    return Vitals(phase=Phase.RUNNING, began_s=NOW_S - 1000, commits_here=True)


def verdict(vitals: Vitals, seen: Seen | None = None) -> Verdict:
    return judge(vitals, seen or Seen(UP), LIMITS, NOW_S)


def waits(vitals: Vitals, age_s: float) -> None:
    vitals.partition(0).waiting_since_s = NOW_S - age_s


def overdue(vitals: Vitals) -> dict[int, int]:
    waits(vitals, 1000)
    return {}


def unread(vitals: Vitals) -> dict[int, int]:
    """A partition that this process reads, of which Kafka holds one message more than it has taken."""
    vitals.partition(3).log_end = vitals.partition(3).read_next = 7
    return {3: 8}


def test_a_process_that_runs_with_all_services_there_is_alive_and_ready() -> None:
    found = verdict(running())
    assert (found.live, found.ready, found.state, found.reasons) == (True, True, "running", ())


@pytest.mark.parametrize("phase", [p for p in Phase if p is not Phase.RUNNING])
def test_a_process_that_starts_or_ends_is_alive_but_not_ready(phase: Phase) -> None:
    vitals = running()
    vitals.phase, vitals.stop_reason = phase, "SIGTERM"
    waits(vitals, 1e6)
    found = verdict(vitals, Seen(UP, unread(vitals), still_s=1e6))
    assert (found.live, found.ready, found.state) == (True, False, phase.value)
    assert found.reasons[0] == f"{phase.value} after SIGTERM"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_whose_probe_fails_makes_it_not_ready_and_is_named_with_its_error(name: str) -> None:
    away = Service(State.AWAY, NOW_S - 12, None, "connection refused")
    found = verdict(running(), Seen({**UP, name: away}))
    assert (found.live, found.ready) == (True, False)
    assert found.reasons == (f"{name} has been away for 12 s: connection refused",)
    assert found.services[name] == away


@pytest.mark.parametrize("name", SERVICES)
def test_what_the_flow_waits_for_counts_before_any_probe_has_noticed(name: str) -> None:
    vitals = running()
    vitals.outages[name] = Outage(NOW_S - 5, NOW_S - 1, 3, "it refuses")
    found = verdict(vitals)
    assert found.reasons == (f"{name} has been away for 5 s: it refuses",)
    assert found.services[name] == Service(State.AWAY, NOW_S - 5, 2.0, "it refuses", NOW_S - 5)


@pytest.mark.parametrize(("noticed_ago_s", "since_ago_s"), [(20, 30), (40, 40)])
def test_of_two_that_noticed_an_outage_the_first_tells_since_when(noticed_ago_s: float, since_ago_s: float) -> None:
    vitals = running()
    vitals.outages["catalog"] = Outage(NOW_S - 30, NOW_S, 3, "the flow's words")
    probed = {**UP, "catalog": Service(State.AWAY, NOW_S - noticed_ago_s, None, "the probe's words")}
    found = verdict(vitals, Seen(probed)).services["catalog"]
    assert found == Service(State.AWAY, NOW_S - since_ago_s, None, "the probe's words", NOW_S - 30)


def test_a_catalog_is_not_blamed_alone_while_the_storage_is_away_too() -> None:
    away = Service(State.AWAY, NOW_S - 12, None, "no answer")
    both = verdict(running(), Seen({**UP, "catalog": away, "storage": away}))
    assert both.reasons == (
        "storage has been away for 12 s: no answer",
        "catalog has been away for 12 s: no answer; it may only wait for the storage",
    )


@pytest.mark.parametrize("name", ["storage", "catalog"])
def test_that_reading_is_paused_for_an_outage_is_said_once_messages_wait(name: str) -> None:
    vitals, long_s = running(), PAUSED_AFTER_S + 1
    services = {**UP, name: Service(State.AWAY, NOW_S - 60, None, "no answer")}
    readable = unread(vitals)
    found = verdict(vitals, Seen(services, readable, read_still_s=long_s))
    assert found.paused == f"reading is paused for 16 s until {name} is back: 1 messages wait in Kafka"
    assert found.paused in found.reasons
    for seen in (
        Seen(services, readable, read_still_s=PAUSED_AFTER_S),
        Seen(services, {}, read_still_s=long_s),
        Seen(UP, readable, read_still_s=long_s),
    ):
        assert not verdict(vitals, seen).paused


def test_a_service_that_nobody_has_asked_yet_is_not_held_against_the_process() -> None:
    found = verdict(running(), Seen())
    assert found.ready
    assert {s.state for s in found.services.values()} == {State.UNKNOWN}


def test_running_but_not_committing_is_not_ready_and_says_so() -> None:
    vitals = running()
    waits(vitals, LIMITS.commit_age_s_max + COMMIT_ALLOWANCE_S)
    assert verdict(vitals).ready
    waits(vitals, LIMITS.commit_age_s_max + COMMIT_ALLOWANCE_S + 1)
    found = verdict(vitals)
    assert found.reasons == ("running but not committing: the oldest message has waited for 81 s, its limit is 60 s",)
    assert (found.live, found.ready) == (True, False), "it still moves"


def test_what_the_committer_holds_counts_like_what_a_collector_holds() -> None:
    vitals = running()
    vitals.gathered_since_s = NOW_S - 1000
    assert "not committing" in verdict(vitals).reasons[0]


def test_a_standstill_is_no_harm_where_there_is_nothing_to_do() -> None:
    vitals = running()
    assert verdict(vitals, Seen(UP, still_s=1e6)).live
    # A window of a day is open, and its messages may wait for it.
    waits(vitals, LIMITS.commit_age_s_max - 1)
    assert verdict(vitals, Seen(UP, still_s=1e6)).live
    unread(vitals)
    assert verdict(vitals, Seen(UP, {3: 7}, still_s=1e6)).live, "all that may be read has been read"


def test_partitions_that_another_process_of_the_cluster_reads_are_nothing_to_do() -> None:
    vitals = running()
    vitals.partition(5).read_next = 10
    assert verdict(vitals, Seen(UP, {5: 1000, 6: 1000}, still_s=1e6)).live


@pytest.mark.parametrize("to_do", [overdue, unread], ids=["a commit that is overdue", "messages that are not taken"])
def test_a_standstill_with_something_to_do_is_stuck(to_do: Callable[[Vitals], dict[int, int]]) -> None:
    vitals = running()
    readable = to_do(vitals)
    assert verdict(vitals, Seen(UP, readable, still_s=STUCK_AFTER_S)).live
    found = verdict(vitals, Seen(UP, readable, still_s=LONG_S))
    assert (found.live, found.ready, found.state) == (False, False, "stuck")
    assert found.reasons[-1] == "no step has moved for 181 s though there is something to do"


def test_an_outage_explains_a_standstill_for_as_long_as_the_flow_would_bear_it() -> None:
    vitals = running()
    readable = unread(vitals)
    explained_s = LIMITS.retry_s_max + STUCK_AFTER_S
    for age_s, is_live in ((10.0, True), (explained_s, True), (explained_s + 1, False)):
        away = {**UP, "catalog": Service(State.AWAY, NOW_S - age_s, None, "away")}
        found = verdict(vitals, Seen(away, readable, still_s=LONG_S))
        assert found.live is is_live, age_s
        assert not found.ready


services = st.builds(
    Service,
    st.sampled_from(State),
    st.none() | st.floats(NOW_S - 1e4, NOW_S),
    st.none() | st.floats(0, 1e4),
    st.text(max_size=5),
    st.none(),
)
ages = st.none() | st.floats(0, 1e4)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Vitals, Seen]:
    vitals = Vitals(phase=draw(st.sampled_from(Phase)), began_s=NOW_S - 1e4)
    for number in draw(st.sets(st.integers(0, 3))):
        partition = vitals.partition(number)
        age_s = draw(ages)
        partition.waiting_since_s = None if age_s is None else NOW_S - age_s
        partition.read_next, partition.log_end, partition.ledger_next = (
            draw(st.none() | st.integers(0, 9)) for _ in range(3)
        )
    for what in draw(st.sets(st.sampled_from(SERVICES))):
        vitals.outages[what] = Outage(NOW_S - draw(st.floats(0, 1e4)), NOW_S, 1, "away")
    probed = draw(st.dictionaries(st.sampled_from(SERVICES), services))
    readable = draw(st.dictionaries(st.integers(0, 3), st.integers(0, 9)))
    return vitals, Seen(probed, readable, draw(st.floats(0, 1e4)), draw(st.floats(0, 1e4)))


@given(worlds())
def test_whatever_the_numbers_the_verdict_is_of_one_piece(world: tuple[Vitals, Seen]) -> None:
    vitals, seen = world
    found = judge(vitals, seen, LIMITS, NOW_S)
    assert found.ready == (not found.reasons), "it always says why"
    assert found.live or not found.ready
    assert found.live == (found.state != "stuck")
    assert set(found.services) == set(SERVICES)
    assert not (found.ready and any(s.state is State.AWAY for s in found.services.values()))
    assert found.live or vitals.phase is Phase.RUNNING
    told = report(vitals, found, NOW_S)
    assert told["ready"] == found.ready
    assert {"service", "kafka", "storage", "table"} <= set(told)


def test_the_report_has_the_numbers_that_a_person_on_call_asks_for() -> None:
    vitals = running()
    vitals.knows({}, watermark_least=round((NOW_S - 70) * 1e6), last_commit_s=NOW_S - 7)
    vitals.rows, vitals.rejects["missing"] = 75, 25
    for number, end in ((0, 12), (1, 9)):
        vitals.partition(number).log_end, vitals.partition(number).ledger_next = end, 5
    told = report(vitals, verdict(vitals), NOW_S)
    elsewhere = report(replace(vitals, commits_here=False), verdict(vitals), NOW_S)
    assert (elsewhere["lag"]["messages"], elsewhere["last_commit"]["at"], elsewhere["watermark"]["age_s"]) == (
        None,
    ) * 3
    assert told["lag"] == {"messages": 11, "partitions": {"0": 7, "1": 4}}
    assert told["last_commit"] == {"at": "2027-01-15T07:59:53.000Z", "age_s": 7.0}
    assert told["watermark"] == {"complete_up_to": "2027-01-15T07:58:50.000Z", "age_s": 70.0}
    assert told["quarantine"] == {"share": 0.25, "recent_share": None, "rejects": 25, "rows": 75}
    assert told["kafka"] == {
        "state": "up",
        "latency_ms": 2.0,
        "since": "2027-01-15T07:58:20.000Z",
        "flow_waits_since": None,
        "error": None,
    }
    assert told["service"] == {
        "state": "running",
        "latency_ms": None,
        "since": "2027-01-15T07:43:20.000Z",
        "error": None,
    }
