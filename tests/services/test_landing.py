"""A whole topic lands: 200,000 messages, three days of event time, one in a hundred bad, on Kafka, object storage and REST catalog."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from neptune_flow.simulator import Fleet, SimulatedMessage
from neptune_flow.simulator.bad import BAD_KINDS
from tests.services.conftest import own_name
from tests.services.neptune import Neptune
from tests.services.oracle import COLUMNS, FIELDS, Landed, assert_exact, days_of, expected_row
from tests.services.second_reader import SecondReader
from tests.services.servers import Platform
from tests.services.stage import Stage
from tests.services.traffic import Sent, Traffic

MESSAGES = 200_000
DAYS = 3
VEHICLES = 1000
LAND_S_MAX = 120.0
EXTRA = b', "firmware": "3.1", "battery": 12.50, "trip": {"legs": [1, 2.0]}, "odometer": 12345678901234567890.123}'
"""What every thousandth message holds beside the contract's fields."""


class Case:
    """The topic after it has landed, and what is known of it."""

    def __init__(self, stage: Stage, traffic: Traffic, neptune: Neptune, exit_code: int) -> None:
        self.stage = stage
        self.traffic = traffic
        self.neptune = neptune
        self.exit_code = exit_code
        self.landed: Landed = stage.landed()

    @property
    def sent(self) -> list[Sent]:
        return self.traffic.sent

    @property
    def good(self) -> list[Sent]:
        return [s for s in self.sent if s.refusal is None]


def messages(seed: int) -> Iterator[SimulatedMessage]:
    start = datetime.now(UTC) - timedelta(days=DAYS)
    interval_s = DAYS * 86400 / MESSAGES * VEHICLES
    fleet = Fleet(seed, start=start, vehicles=VEHICLES, interval_s=interval_s, bad_share=0.01)
    for number, message in enumerate(islice(fleet, MESSAGES)):
        if number % 1000 == 0 and message.bad is None and message.value is not None:
            yield message._replace(value=message.value[:-1] + EXTRA)
        else:
            yield message


@pytest.fixture(scope="module")
def case(
    platform: Platform, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    stage = Stage(platform, own_name(request), tmp_path_factory.mktemp("landing"))
    stage.create_topic(4)
    traffic = stage.traffic()
    traffic.send(messages(seed=20))
    neptune = stage.start(NEPTUNE_WINDOW_S="60", NEPTUNE_ALLOWED_LATENESS_S="10")
    try:
        stage.wait_caught_up(neptune, LAND_S_MAX)
        yield Case(stage, traffic, neptune, neptune.terminate())
    finally:
        stage.close()


def test_every_good_message_is_one_row_with_its_values_and_every_bad_one_is_in_quarantine_once(case: Case) -> None:
    assert len(case.sent) == MESSAGES
    assert {p for p, _ in case.landed.row_places} == {0, 1, 2, 3}
    assert case.landed.rows.column_names == list(COLUMNS)
    assert Counter(s.refusal for s in case.sent).keys() == {None} | {bad.reason for bad in BAD_KINDS}
    assert_exact(case.sent, case.landed, case.stage.log_ends())


def test_the_end_by_sigterm_is_in_good_order(case: Case) -> None:
    assert case.exit_code == 0, case.neptune.tail()
    assert [e["signal"] for e in case.neptune.events("draining")] == ["SIGTERM"]


def test_a_reader_of_another_make_counts_the_same_rows_and_rejects(case: Case) -> None:
    rows = SecondReader(case.stage.platform, case.stage.table)
    rejects = SecondReader(case.stage.platform, f"{case.stage.table}_quarantine")
    place = "count() AS found, uniqExact(tuple({0}partition, {0}offset)) AS different"

    assert rows.one(place.format("_kafka.")) == {"found": len(case.good), "different": len(case.good)}
    bad = MESSAGES - len(case.good)
    assert rejects.one(place.format("")) == {"found": bad, "different": bad}
    by_kind = rejects.query("r.kind AS kind, count() AS n", "ARRAY JOIN reasons AS r GROUP BY kind")
    sent = Counter(s.refusal for s in case.sent if s.refusal)
    assert {r["kind"]: r["n"] for r in by_kind}.items() >= {k: n for k, n in sent.items() if k == "null_value"}.items()


def test_a_reader_of_another_make_finds_the_same_values(case: Case) -> None:
    reader = SecondReader(case.stage.platform, case.stage.table)
    good = [expected_row(s, case.stage.topic) for s in case.good]
    numbers = [name for name in FIELDS if name.endswith(("lat", "lon"))]

    sums = reader.one(", ".join(f"sum({name}) AS {name}" for name in numbers))
    assert sums == {name: pytest.approx(math.fsum(row[name] for row in good), rel=1e-9) for name in numbers}
    times = reader.one("min(timestamp) AS first, max(timestamp) AS last, uniqExact(vehicle_id) AS vehicles")
    assert times == {
        "first": min(row["timestamp"] for row in good),
        "last": max(row["timestamp"] for row in good),
        "vehicles": len({row["vehicle_id"] for row in good}),
    }
    by_status = reader.query("toString(status) AS status, count() AS n", "GROUP BY status")
    assert {r["status"]: r["n"] for r in by_status} == Counter(row["status"] for row in good)


def test_a_reader_of_another_make_finds_the_same_rows(case: Case) -> None:
    reader = SecondReader(case.stage.platform, case.stage.table)
    wanted = {(s.partition, s.offset): expected_row(s, case.stage.topic) for s in case.good[:: MESSAGES // 200]}
    texts = [name for name in FIELDS if "_id" in name or name == "status"]
    others = [name for name in FIELDS if name not in texts]
    columns = ", ".join([*(f"toString({name}) AS {name}" for name in texts), *others])
    offsets = ", ".join(f"({p}, {o})" for p, o in wanted)
    found = reader.query(
        f"_kafka.partition AS p, _kafka.offset AS o, toString(event_date) AS day, {columns}",
        f"WHERE (_kafka.partition, _kafka.offset) IN ({offsets})",
    )
    assert len(found) == len(wanted)
    for row in found:
        should = wanted[row["p"], row["o"]]
        assert {name: row[name] for name in FIELDS} == {name: should[name] for name in FIELDS}
        assert row["day"] == str(should["event_date"])


def test_the_consumer_group_of_kafka_says_what_the_ledger_says(case: Case) -> None:
    assert case.stage.group_offsets() == {p: entry["next"] for p, entry in case.landed.ledger.items()}


def test_a_data_file_holds_one_day_and_the_files_are_few(case: Case) -> None:
    table = case.stage.load()
    assert table is not None
    files = table.inspect.files()
    days = {row["event_date"] for row in files.column("partition").to_pylist()}
    assert days == days_of(case.sent)
    assert files.num_rows <= len(days) * len(case.neptune.events("committed"))


def test_the_log_has_a_line_for_each_commit_and_none_for_a_message(case: Case) -> None:
    commits = case.neptune.events("committed")
    assert sum(c["rows"] for c in commits) == len(case.good)
    assert sum(c["rejects"] for c in commits) == MESSAGES - len(case.good)
    table = case.stage.load()
    assert table is not None
    assert len({c["snapshot"] for c in commits} & {s.snapshot_id for s in table.metadata.snapshots}) == len(commits)
    assert len(case.neptune.events()) <= len(commits) + 10
    assert case.neptune.other_lines() == []


def test_the_log_holds_no_secret(case: Case) -> None:
    storage = case.stage.platform.storage
    text = case.neptune.text()
    assert storage.secret_key not in text
    assert storage.access_key not in text


def test_a_second_start_takes_up_where_the_first_ended(case: Case, tmp_path: Path) -> None:
    stage = case.stage
    neptune = stage.start(NEPTUNE_WINDOW_S="60")
    started = neptune.wait_event("started")
    assert started["ledger"] == {str(p): entry["next"] for p, entry in case.landed.ledger.items()}

    new = case.traffic.send(islice(Fleet(21, start=datetime.now(UTC), bad_share=0.1), 500))
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    assert neptune.total("rows") + neptune.total("rejects") == len(new) == 500
    row_places, reject_places = stage.places()
    assert sorted(row_places + reject_places) == sorted((s.partition, s.offset) for s in case.sent)


def test_the_extra_fields_of_a_message_keep_their_digits(case: Case) -> None:
    texts = [text for text in case.landed.rows.column("_extra").to_pylist() if text is not None]
    assert len(texts) > MESSAGES // 1000 * 0.9
    for text in texts:
        assert "12345678901234567890.123" in text
        assert "12.50" in text
        assert json.loads(text)["trip"] == {"legs": [1, 2.0]}
