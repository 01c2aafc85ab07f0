"""The commit protocol: its decisions one by one, and every order of events in small worlds.

The exploration would be worth nothing if it could not fail: each mutant takes away one rule of the protocol, and must be caught.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from neptune_flow.ledger import Entry, Ledger
from neptune_flow.protocol import (
    AlreadyThere,
    Append,
    Claim,
    Decision,
    Look,
    LookAgain,
    Offer,
    Outcome,
    Stop,
    StopReason,
    decide,
)
from tests.simulation.small_world import Kind, State, World

OURS, THEIRS, BEFORE = "ours", "theirs", "before"


# Decisions one by one


def _offer(*claims: Claim, topic_id: str | None = "id-1") -> Offer:
    return Offer(OURS, "topic", topic_id, claims or (Claim(0, 10, BEFORE),))


def _look(*entries: tuple[int, int, str], topic: str = "topic", topic_id: str | None = "id-1") -> Look:
    return Look(Ledger(topic, topic_id, {p: Entry(first=0, next=n, commit=c, rows=n) for p, n, c in entries}))


@pytest.mark.parametrize("last", [Outcome.NONE, Outcome.REFUSED, Outcome.UNKNOWN])
def test_without_a_fresh_look_nothing_is_attempted(last: Outcome) -> None:
    assert decide(_offer(), last, None) == LookAgain()


def test_an_attempt_that_was_answered_with_success_has_landed_and_needs_no_look() -> None:
    assert decide(_offer(), Outcome.LANDED, None) == AlreadyThere()


@pytest.mark.parametrize("last", [Outcome.NONE, Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_claim_that_begins_at_the_ledgers_number_is_appended(last: Outcome) -> None:
    assert decide(_offer(), last, _look((0, 10, BEFORE))) == Append()


def test_a_partition_that_the_ledger_does_not_know_is_appended_if_none_is_expected() -> None:
    offer = _offer(Claim(0, None, None))
    assert decide(offer, Outcome.NONE, Look(None)) == Append()
    assert decide(offer, Outcome.NONE, _look((1, 5, BEFORE))) == Append()


@pytest.mark.parametrize("last", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_the_own_commit_id_in_the_ledger_proves_that_an_attempt_has_landed(last: Outcome) -> None:
    assert decide(_offer(), last, _look((0, 20, OURS))) == AlreadyThere()


@pytest.mark.parametrize("found", [0, 9, 11, 20])
def test_a_ledger_that_somebody_else_moved_stops_with_what_was_expected_and_found(found: int) -> None:
    stop = Stop(StopReason.SUPERSEDED, partition=0, expected=10, found=found)
    assert decide(_offer(), Outcome.UNKNOWN, _look((0, found, THEIRS))) == stop


def test_the_right_number_written_by_another_commit_stops() -> None:
    assert decide(_offer(), Outcome.NONE, _look((0, 10, THEIRS))) == Stop(StopReason.SUPERSEDED, 0, 10, 10)


def test_an_entry_that_is_gone_or_should_not_be_there_stops() -> None:
    assert decide(_offer(), Outcome.NONE, Look(None)) == Stop(StopReason.SUPERSEDED, 0, 10, None)
    unexpected = _look((0, 3, THEIRS))
    assert decide(_offer(Claim(0, None, None)), Outcome.NONE, unexpected) == Stop(StopReason.SUPERSEDED, 0, None, 3)


def test_partitions_that_are_not_claimed_may_move_as_they_like() -> None:
    assert decide(_offer(), Outcome.REFUSED, _look((0, 10, BEFORE), (1, 99, THEIRS))) == Append()


def test_one_claim_that_does_not_join_stops_the_whole_commit() -> None:
    offer = _offer(Claim(0, 10, BEFORE), Claim(1, 5, BEFORE))
    look = _look((0, 10, BEFORE), (1, 6, THEIRS))
    assert decide(offer, Outcome.NONE, look) == Stop(StopReason.SUPERSEDED, 1, 5, 6)


def test_a_commit_of_which_only_a_part_has_landed_stops() -> None:
    offer = _offer(Claim(0, 10, BEFORE), Claim(1, 5, BEFORE))
    assert decide(offer, Outcome.UNKNOWN, _look((0, 20, OURS), (1, 5, BEFORE))) == Stop(StopReason.TORN)


def test_a_ledger_of_another_topic_stops() -> None:
    assert decide(_offer(), Outcome.NONE, _look((0, 10, OURS), topic="other")) == Stop(StopReason.OTHER_TOPIC)


def test_a_ledger_of_an_earlier_topic_of_the_same_name_stops() -> None:
    assert decide(_offer(), Outcome.NONE, _look((0, 10, OURS), topic_id="id-0")) == Stop(StopReason.TOPIC_RECREATED)


@pytest.mark.parametrize(("ours", "theirs"), [(None, "id-1"), ("id-1", None), (None, None)])
def test_a_topic_id_that_one_side_does_not_know_is_no_conflict(ours: str | None, theirs: str | None) -> None:
    assert decide(_offer(topic_id=ours), Outcome.NONE, _look((0, 10, BEFORE), topic_id=theirs)) == Append()


# Every order of events

FIRST, LAST = frozenset({(0, 0)}), frozenset({(0, 1)})
ZOMBIE = World(owners=(0, 0), length=(2,), verdicts=(LAST,), crashes_max=1, faults_max=1)
NEIGHBOUR = World(owners=(0, 0, 1), length=(1, 1), verdicts=(FIRST,), crashes_max=1, faults_max=0)
PAIR = World(owners=(0, 1), length=(2, 2), verdicts=(frozenset({(0, 0), (1, 1)}),), crashes_max=0, faults_max=1)
CHANGED = World(owners=(0,), length=(2,), verdicts=(FIRST, LAST), crashes_max=2, faults_max=2)
DISAGREEING = World(owners=(0, 0), length=(2,), verdicts=(FIRST, LAST), crashes_max=1, faults_max=0)
WORLDS = {
    "a writer and its zombie": ZOMBIE,
    "a writer, its zombie and a neighbour": NEIGHBOUR,
    "the owners of two partitions": PAIR,
    "a writer whose contract changes": CHANGED,
    "two writers whose contracts disagree": DISAGREEING,
}


def violations(world: World, before: State | None, state: State) -> Iterator[str]:
    """What is wrong in a state, in words; where no table has changed, nothing is."""
    if before and before.tables == state.tables:
        return
    rows, quarantine = state.tables
    for p in range(world.partitions):
        entry, rejects_entry = rows.parts[p], quarantine.parts[p]
        taken = entry.next if entry else 0
        landed = Counter(rows.content[p]) + Counter(quarantine.content[p])
        if any(count > 1 for count in landed.values()):
            yield f"twin: {p}: rows {rows.content[p]}, rejects {quarantine.content[p]}"
        if missing := set(range(taken)) - set(landed):
            yield f"lost: {p}: {missing} below {taken}"
        if strange := [o for o in rows.content[p] if o >= taken]:
            yield f"strange: {p}: rows {strange} at or above {taken}"
        if entry and (entry.rows, entry.rejects) != (len(rows.content[p]), taken - len(rows.content[p])):
            yield f"unbalanced: {p}: {entry}"
        if rejects_entry and rejects_entry.rejects != len(quarantine.content[p]):
            yield f"unbalanced: quarantine of {p}: {rejects_entry}"
        if before and any(_ran_back(before, state, kind, p) for kind in Kind):
            yield f"ran back: {p}"


def _ran_back(before: State, state: State, kind: Kind, partition: int) -> bool:
    old, new = before.tables[kind].parts[partition], state.tables[kind].parts[partition]
    return old is not None and (new is None or new.next < old.next)


def first_violation(world: World) -> str | None:
    for before, state in world.explore():
        for violation in violations(world, before, state):
            return violation
    return None


@pytest.fixture(autouse=True)
def _without_garbage_collector() -> Iterator[None]:
    """A million states hold no cycle, and the collector would walk them all again and again."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", WORLDS)
def test_in_every_order_of_crash_conflict_and_lost_answer_each_message_lands_exactly_once(name: str) -> None:
    world = WORLDS[name]
    states = done = 0
    for before, state in world.explore():
        assert not list(violations(world, before, state))
        states += 1
        done += world.is_done(state)
    print(f"{name}: {states} states, in {done} of them everything has landed")
    assert done, "a world in which nothing is ever finished proves nothing"
    assert states > 5_000


# Mutants: the protocol without one of its rules


def _skips_the_join_check(offer: Offer, last: Outcome, look: Look | None) -> Decision:
    decision = decide(offer, last, look)
    return Append() if isinstance(decision, Stop) else decision


def _compares_numbers_only(offer: Offer, last: Outcome, look: Look | None) -> Decision:
    decision = decide(offer, last, look)
    same_number = isinstance(decision, Stop) and decision.expected == decision.found
    return Append() if same_number else decision


def _takes_unknown_for_not_landed(offer: Offer, last: Outcome, look: Look | None) -> Decision:
    return Append() if last is Outcome.UNKNOWN and look is not None else decide(offer, last, look)


def _takes_unknown_for_landed(offer: Offer, last: Outcome, look: Look | None) -> Decision:
    return AlreadyThere() if last is Outcome.UNKNOWN else decide(offer, last, look)


def _takes_a_foreign_commit_for_its_own(offer: Offer, last: Outcome, look: Look | None) -> Decision:
    decision = decide(offer, last, look)
    return AlreadyThere() if isinstance(decision, Stop) and decision.found is not None else decision


THREE = replace(ZOMBIE, length=(3,), verdicts=(frozenset({(0, 1), (0, 2)}),))
MUTANTS = {
    "drops the pin": replace(ZOMBIE, pinned=False),
    "skips the join check": replace(ZOMBIE, decide=_skips_the_join_check),
    "compares numbers, not who wrote them": replace(DISAGREEING, decide=_compares_numbers_only),
    "takes unknown for not landed": replace(ZOMBIE, decide=_takes_unknown_for_not_landed),
    "takes unknown for landed": replace(ZOMBIE, decide=_takes_unknown_for_landed),
    "takes a foreign commit for its own": replace(THREE, decide=_takes_a_foreign_commit_for_its_own),
    "lands rows before rejects": replace(ZOMBIE, order=(Kind.ROWS, Kind.QUARANTINE)),
    "fences nothing": replace(CHANGED, fences=()),
    "fences the rows only": replace(CHANGED, fences=(Kind.ROWS,)),
    "fences the quarantine only": replace(DISAGREEING, fences=(Kind.QUARANTINE,)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_protocol_without_one_of_its_rules_is_caught(mutant: str) -> None:
    violation = first_violation(MUTANTS[mutant])
    print(f"{mutant}: {violation}")
    assert violation is not None
