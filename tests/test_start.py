"""Where reading begins: at the ledger's number, further only where a recovery store joins it, and never past a verdict that stands."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from neptune_flow.contract import load_contract
from neptune_flow.errors import LedgerConflict, Unavailable
from neptune_flow.iceberg import TableLook
from neptune_flow.kafka import KafkaAddress, ReadFrom, Topic
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.kafka.source import Position
from neptune_flow.ledger import Entry, Ledger
from neptune_flow.process import Lifecycle
from neptune_flow.protocol import Outcome
from neptune_flow.settings import Settings
from neptune_flow.start import Landing, Start, check_agreement, own_ledger
from neptune_flow.validation import Validator
from tests.iceberg.worlds import properties
from tests.mend.worlds import Sea

TOPIC = Topic("sessions", "id-1", (0,))
NO_TABLE: Any = None


def landing(entry: Entry | None, refused_before: dict[int, frozenset[int]] | None = None) -> Landing:
    return Landing(
        topic=TOPIC,
        partitions=TOPIC.partitions,
        rows_table=NO_TABLE,
        quarantine=NO_TABLE,
        bound_to="today",
        rows_ledger=Ledger("sessions", "id-1", {} if entry is None else {0: entry}),
        rejects_ledger=Ledger("sessions", "id-1"),
        start_offsets={0: 7},
        refused_before=refused_before or {},
    )


ENTRY = Entry(first=0, next=100, commit="c")


def test_a_partition_begins_at_the_ledgers_number() -> None:
    assert landing(ENTRY).read_from(0, None) == ReadFrom(0, 100, reading="id-1/c/")


def test_a_partition_that_the_ledger_does_not_know_begins_where_the_start_was_told() -> None:
    assert landing(None).read_from(0, Position("today", 50)) == ReadFrom(0, 7, is_start=True, reading="id-1//")


def test_a_recovered_position_is_used_where_it_lies_further() -> None:
    assert landing(ENTRY).read_from(0, Position("today", 120)).offset == 120
    assert landing(ENTRY).read_from(0, Position("today", 80)).offset == 100


def test_a_position_of_other_tables_or_columns_is_not_used() -> None:
    assert landing(ENTRY).read_from(0, Position("yesterday", 120)).offset == 100


@pytest.mark.parametrize("held", [frozenset({105}), frozenset()])
def test_where_the_quarantine_is_ahead_reading_begins_at_the_ledger(held: frozenset[int]) -> None:
    assert landing(ENTRY, {0: held}).read_from(0, Position("today", 120)) == ReadFrom(
        0, 100, refused_before=held, reading="id-1/c/"
    )


def test_the_quarantines_verdicts_stand_also_when_the_rows_ledger_has_been_lost() -> None:
    held = frozenset({8, 9})
    assert landing(None, {0: held}).read_from(0, None) == ReadFrom(
        0, 7, is_start=True, refused_before=held, reading="id-1//"
    )


def test_a_ledger_without_topic_id_adopts_the_topics() -> None:
    assert own_ledger("t", Ledger("sessions", None), TOPIC).topic_id == "id-1"


def test_a_ledger_of_another_topic_stops_the_start() -> None:
    with pytest.raises(LedgerConflict, match="holds topic others") as conflict:
        own_ledger("t", Ledger("others", "id-1"), TOPIC)
    assert "ledger set" not in conflict.value.hint


def test_a_ledger_of_an_earlier_topic_of_this_name_stops_the_start_and_names_the_command() -> None:
    with pytest.raises(LedgerConflict, match="created anew") as conflict:
        own_ledger("t", Ledger("sessions", "id-0"), TOPIC)
    assert conflict.value.hint.endswith("python -m neptune_flow ledger set --from earliest")


@pytest.mark.parametrize(
    ("rows", "rejects", "command"),
    [
        ({}, {0: ENTRY}, "python -m neptune_flow ledger set --from rows"),
        ({0: ENTRY}, {}, "python -m neptune_flow ledger set --from ledger"),
    ],
    ids=["no rows", "no quarantine"],
)
def test_two_tables_that_do_not_belong_together_stop_the_start_and_the_command_is_named(
    rows: dict[int, Entry], rejects: dict[int, Entry], command: str
) -> None:
    with pytest.raises(LedgerConflict, match="do not belong together") as conflict:
        check_agreement("t", Ledger("sessions", "id-1", rows), Ledger("sessions", "id-1", rejects))
    assert conflict.value.hint.endswith(command)


# A group


def a_group_start(folder: Path, broker: InProcessBroker, start_from: str) -> Start:
    """A member's, on tables in a folder; the topic has four partitions."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "ICEBERG_CATALOG": "lake",
        "NEPTUNE_CATALOG_PROPERTIES": json.dumps(properties(folder, type="sql")),
        "NEPTUNE_START_FROM": start_from,
    }
    return Start.of(Settings.load(settings), Lifecycle())


def send_to_each(broker: InProcessBroker, count: int) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for partition in range(4):
        for _ in range(count):
            producer.produce("sessions", b"{}", partition=partition)
    assert producer.flush(30) == 0


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        yield broker


def begins(start: Start, *partitions: int) -> list[ReadFrom]:
    landing = start.of_round(partitions, threading.Event())()
    return [landing.read_from(p, None) for p in partitions]


@pytest.mark.parametrize(("start_from", "expected"), [("latest", 3), ("earliest", 0)])
def test_the_first_member_of_a_group_decides_where_all_partitions_begin(
    tmp_path: Path, broker: InProcessBroker, start_from: str, expected: int
) -> None:
    send_to_each(broker, 3)
    first, second = (a_group_start(tmp_path, broker, start_from) for _ in range(2))
    first.prepare()
    assert [b.offset for b in begins(first, 0, 1)] == [expected] * 2
    send_to_each(broker, 2)
    second.prepare()
    found = begins(second, 2, 3)
    assert [(b.offset, b.is_start) for b in found] == [(expected, True)] * 2


def test_of_two_members_that_begin_at_once_one_decides(tmp_path: Path, broker: InProcessBroker) -> None:
    send_to_each(broker, 3)
    quick, slow = (a_group_start(tmp_path, broker, "latest") for _ in range(2))
    tables = slow._open_tables()
    empty = slow._read(Topic("sessions", None, (0, 1, 2, 3)), *tables)
    quick.prepare()
    send_to_each(broker, 2)
    slow._begin(empty)
    slow.prepare()
    assert [b.offset for b in (*begins(quick, 0, 1), *begins(slow, 2, 3))] == [3] * 4


def test_a_partition_that_is_added_to_a_groups_topic_begins_at_its_first_message(
    tmp_path: Path, broker: InProcessBroker
) -> None:
    send_to_each(broker, 3)
    start = a_group_start(tmp_path, broker, "latest")
    start._begin(start._read(Topic("sessions", None, (0, 1)), *start._open_tables()))
    start.prepare()
    assert [b.offset for b in begins(start, 0, 1, 2, 3)] == [3, 3, 0, 0]


def test_a_group_whose_tables_contradict_each_other_does_not_begin_anew(
    tmp_path: Path, broker: InProcessBroker
) -> None:
    start = a_group_start(tmp_path, broker, "earliest")
    _, quarantine = start._open_tables()
    rejects = Ledger("sessions", None, {0: ENTRY})
    assert quarantine.attempt(quarantine.look(), (), rejects, "c", {}).outcome is Outcome.LANDED
    with pytest.raises(LedgerConflict, match="do not belong together"):
        start.prepare()


# Two readings


class Late:
    """A quarantine that is looked at only after another process's first commit."""

    def __init__(self, sea: Sea) -> None:
        self._sea = sea

    def look(self) -> TableLook:
        self._sea.land_all()
        return self._sea.quarantine.look()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sea.quarantine, name)


def a_start() -> Start:
    settings = Settings.load({})
    contract = load_contract(settings.contract)
    validator = Validator(contract, topic=TOPIC.name, kafka_columns=True, extra_column=True, future_skew_s=300)
    return Start(settings, contract, validator, KafkaAddress("127.0.0.1:1", TOPIC.name, "group"), Lifecycle())


def test_a_first_commit_that_falls_between_the_two_readings_is_no_contradiction(tmp_path: Path) -> None:
    sea, start = Sea(tmp_path, {0: "rxr"}), a_start()
    quarantine: Any = Late(sea)
    with pytest.raises(Unavailable, match="has moved while the ledgers were read"):
        start._read(TOPIC, sea.rows, quarantine)
    assert start._read(TOPIC, sea.rows, sea.quarantine).rows_ledger.entries[0].next == 3


def test_state_of_an_earlier_log_is_bound_to_something_else(tmp_path: Path) -> None:
    """Rows of the old topic that a recovery store kept must not join the new one's ledger, though their offsets would."""
    sea, start = Sea(tmp_path, {0: "rxr"}), a_start()
    looks = sea.rows.look(), sea.quarantine.look()
    assert len({start._bound_to(number, *looks) for number in (None, 0, 1)}) == 3
