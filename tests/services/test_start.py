"""The start: what is waited for, what is made, what is refused, and with which exit code."""

from __future__ import annotations

import json
from itertools import islice

import pyarrow as pa
import pytest
from pyiceberg.transforms import IdentityTransform

from tests.contract.second_contract import Order
from tests.services.neptune import OWN_COMMAND, RUNNER, assert_stopped
from tests.services.oracle import COLUMNS, REJECT_COLUMNS
from tests.services.second_reader import SecondReader
from tests.services.servers import free_port
from tests.services.stage import Stage
from tests.services.test_outage import IMPATIENT, killed
from tests.services.traffic import Note, past_fleet


def test_bucket_namespace_and_tables_are_made_where_they_are_missing(stage: Stage) -> None:
    bucket, namespace = f"b{free_port()}", ("deep", stage.table)
    stage.create_topic(1)
    traffic = stage.traffic()
    traffic.send(islice(past_fleet(1), 50))
    neptune = stage.start(MINIO_BUCKET=bucket, ICEBERG_NAMESPACE=".".join(namespace), ICEBERG_TABLE="events")
    neptune.wait_for(lambda: neptune.total("rows") + neptune.total("rejects") == 50, "all has landed")
    assert neptune.terminate() == 0, neptune.tail()

    for name, columns, day in (("events", COLUMNS, "event_date"), ("events_quarantine", REJECT_COLUMNS, "day")):
        table = stage.catalog.load_table((*namespace, name))
        assert table.location() == f"s3://{bucket}/{'/'.join(namespace)}/{name}"
        assert [field.name for field in table.schema().fields] == list(columns)
        (partition,) = table.spec().fields
        assert partition.source_id == table.schema().find_field(day).field_id
        assert isinstance(partition.transform, IdentityTransform)
        assert table.metadata.format_version == 2


def test_a_table_with_a_column_of_another_type_stops_the_start_and_is_left_alone(stage: Stage) -> None:
    stage.create_topic(1)
    stage.catalog.create_namespace_if_not_exists("default")
    schema = pa.schema([pa.field("device_id", pa.string()), pa.field("start_lat", pa.string())])
    stage.catalog.create_table(("default", stage.table), schema)
    neptune = stage.start()
    assert neptune.wait() == 78, neptune.tail()
    words = assert_stopped(neptune, "TableMismatch")
    assert stage.table in words
    table = stage.load()
    assert table is not None
    assert [field.name for field in table.schema().fields] == ["device_id", "start_lat"]


def test_a_table_of_another_topic_stops_the_start_in_one_sentence(stage: Stage) -> None:
    stage.create_topic(1)
    first = stage.start()
    stage.wait_caught_up(first)
    assert first.terminate() == 0, first.tail()
    other = f"{stage.topic}_other"
    stage.kafka.create_topic(other, 1)
    second = stage.start(KAFKA_TOPIC=other)
    assert second.wait() == 65, second.tail()
    words = assert_stopped(second, "LedgerConflict")
    assert f"holds topic {stage.topic}, not {other}" in words


def test_another_contract_is_one_setting_and_no_other_change(stage: Stage) -> None:
    order = {
        "order": "7F8B0D2C-1111-4222-8333-944455556666",
        "placed_at": "2024-05-01T23:30:00-02:00",
        "paid": True,
        "total": "12.30",
        "due": "2024-06-01",
        "colour": "red",
        "note": None,
        "address": {"street": "Main", "number": 5},
        "lines": [{"sku": "a", "count": 2}, {"sku": "b", "count": 3}],
    }
    orders = [{**order, "priority": number} for number in range(200)]
    stage.create_topic(2)
    traffic = stage.traffic()
    traffic.send([Note(json.dumps(o).encode(), str(o["priority"]).encode()) for o in orders])
    traffic.send([Note(json.dumps({**order, "paid": "yes"}).encode())])
    neptune = stage.start(NEPTUNE_CONTRACT=f"{Order.__module__}:{Order.__name__}")
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()

    found = SecondReader(stage.platform, stage.table).one(
        "count() AS n, sum(priority) AS priorities, toString(sum(total)) AS total, sum(pieces) AS pieces, "
        "toString(any(event_date)) AS day, sum(length(lines)) AS lines, any(address.number) AS number"
    )
    assert found == {
        "n": 200,
        "priorities": sum(range(200)),
        "total": "2460",
        "pieces": 1000,
        "day": "2024-05-02",
        "lines": 400,
        "number": 5,
    }
    table = stage.load("_quarantine")
    assert table is not None
    (reject,) = table.scan().to_arrow().to_pylist()
    assert [(reason["field"], reason["kind"]) for reason in reject["reasons"]] == [("paid", "bool_type")]


@pytest.mark.parametrize("command", [RUNNER, OWN_COMMAND], ids=["bytewax's command", "Neptune's own command"])
def test_both_commands_land_the_topic_without_the_columns_that_are_turned_off(stage: Stage, command: list[str]) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    traffic.send(islice(past_fleet(2, bad_share=0), 300))
    neptune = stage.start(command=command, NEPTUNE_KAFKA_COLUMNS="false", NEPTUNE_EXTRA_COLUMN="false")
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    table = stage.load()
    assert table is not None
    rows = table.scan().to_arrow()
    assert rows.column_names == [name for name in COLUMNS if not name.startswith("_")]
    sent = [json.loads(s.value or b"") for s in traffic.sent]
    keys = ("vehicle_id", "current_lat", "current_lon")
    assert sorted(tuple(r[k] for k in keys) for r in rows.to_pylist()) == sorted(
        tuple(m[k] for k in keys) for m in sent
    )


@pytest.mark.parametrize(
    ("setting", "service"),
    [("KAFKA_BOOTSTRAP_SERVERS", "kafka"), ("ICEBERG_REST_URL", "catalog"), ("MINIO_ENDPOINT", "storage")],
)
def test_a_server_that_is_not_there_at_the_start_is_waited_for_up_to_the_limit(
    stage: Stage, setting: str, service: str
) -> None:
    stage.create_topic(1)
    scheme = "" if service == "kafka" else "http://"
    address = f"{scheme}127.0.0.1:{free_port()}"
    neptune = stage.start(**{**IMPATIENT, "NEPTUNE_START_WAIT_S_MAX": "6", setting: address})
    assert neptune.wait(90) == 69, neptune.tail()
    waiting = neptune.events("waiting", service=service)
    assert waiting, neptune.tail()
    assert all(e["limit_s"] == 6 and address in e["reason"] for e in waiting)
    why = assert_stopped(neptune, "Unavailable")
    assert address in why


def test_a_catalog_that_comes_late_is_waited_for(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    traffic.send(islice(past_fleet(1), 100))
    with killed(stage.platform.catalog):
        neptune = stage.start(**IMPATIENT)
        neptune.wait_event("waiting", service="catalog")
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_a_signal_ends_the_waiting_of_the_start(stage: Stage) -> None:
    neptune = stage.start()
    neptune.wait_event("waiting", service="kafka")
    assert neptune.terminate(10) == 0, neptune.tail()


@pytest.mark.parametrize("setting", ["MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"])
def test_keys_that_the_storage_refuses_end_the_start_with_its_code_and_are_not_in_the_log(
    stage: Stage, setting: str
) -> None:
    stage.create_topic(1)
    neptune = stage.start(**{setting: "not-what-it-should-be"})
    assert neptune.wait() == 77, neptune.tail()
    why = assert_stopped(neptune, "AccessDenied")
    assert stage.platform.storage.endpoint in why
    assert "not-what-it-should-be" not in neptune.text()
    assert stage.platform.storage.secret_key not in neptune.text()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("NEPTUNE_WINDOW_S", "-1", "NEPTUNE_WINDOW_S is '-1'"),
        ("NEPTUNE_WINDOWS_S", "60", "NEPTUNE_WINDOWS_S is no setting; meant NEPTUNE_WINDOW_S?"),
        ("NEPTUNE_CONTRACT", "nowhere.to_be:Found", "nowhere.to_be"),
        ("NEPTUNE_KAFKA_PROPERTIES", '{"auto.offset.reset": "latest"}', "auto.offset.reset"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_its_code_and_its_name(
    stage: Stage, setting: str, value: str, said: str
) -> None:
    neptune = stage.start(**{setting: value})
    assert neptune.wait() == 78, neptune.tail()
    assert said in assert_stopped(neptune, "ContractError" if setting == "NEPTUNE_CONTRACT" else "SettingsError")
