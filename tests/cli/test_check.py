"""`neptune check`: what is well, what is wrong and how to mend it, whatever else is wrong; in bounded time, and writing nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError

from neptune_flow.cli import main
from neptune_flow.contract.loading import contract_of
from neptune_flow.inspection.columns import remarks
from neptune_flow.kafka.in_process import InProcessBroker
from tests.cli.shelf import NOBODY, TOPIC, Shelf, good
from tests.cli.strict import Strict

ALL = ["settings", "contract", "Kafka", "topic", "storage", "catalog", "table", "quarantine", "ledgers"]


def checked(result: Result) -> dict[str, dict[str, Any]]:
    """The findings by what was looked at."""
    assert result.exit_code in (0, 1), result.output
    document = json.loads(result.stdout)
    assert document["well"] == (result.exit_code == 0)
    findings = {finding["what"]: finding for finding in document["findings"]}
    assert list(findings) == ALL
    return findings


def states(findings: dict[str, dict[str, Any]], state: str) -> set[str]:
    return {what for what, finding in findings.items() if finding["state"] == state}


@pytest.fixture
def silence() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for each in held:
            each.close()


def test_where_all_is_well_each_line_says_so_and_the_exit_code_is_0(lake: Shelf) -> None:
    shown = lake.neptune("check")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert [line.split()[:2] for line in lines if not line.startswith(" ")] == [["ok", what] for what in ALL]
    assert f"{lake.kafka}, 1 broker" in shown.stdout
    assert "default.raw_delivery_data takes the contract's columns" in shown.stdout


def test_before_the_first_start_all_is_well_and_nothing_is_made(tmp_path: Path, broker: InProcessBroker) -> None:
    broker.make_topic(TOPIC)
    place = tmp_path / "new"
    catalog = {"type": "sql", "uri": f"sqlite:///{place}/catalog.db", "warehouse": f"file://{place}/warehouse"}
    own = {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_TOPIC": TOPIC,
        "NEPTUNE_CATALOG_PROPERTIES": json.dumps(catalog),
    }
    findings = checked(CliRunner(env=own).invoke(main, ["check", "--json"]))
    assert states(findings, "ok") == set(ALL)
    assert all("the start makes it" in findings[what]["said"] for what in ("storage", "catalog", "table", "ledgers"))
    assert not place.exists()


def test_a_catalog_without_the_tables_is_well_too(lake: Shelf) -> None:
    findings = checked(lake.neptune("check", "--json", ICEBERG_TABLE="others", ICEBERG_NAMESPACE="new"))
    assert states(findings, "ok") == set(ALL)
    assert not lake.rows.catalog.namespace_exists(("new",))


def test_kafka_away_is_named_and_the_rest_is_looked_at_all_the_same(shelf: Shelf) -> None:
    findings = checked(shelf.neptune("check", "--json"))
    assert states(findings, "wrong") == {"Kafka"}
    assert states(findings, "not looked") == {"topic"}
    assert NOBODY in findings["Kafka"]["said"]
    assert "refused" in findings["Kafka"]["detail"]
    assert "KAFKA_BOOTSTRAP_SERVERS" in findings["Kafka"]["hint"]
    assert "Kafka's log could not be held against them" in findings["ledgers"]["said"]


def test_a_wrong_setting_stops_the_looking(shelf: Shelf) -> None:
    findings = checked(shelf.neptune("check", "--json", NEPTUNE_WINDOW_S="0"))
    assert states(findings, "wrong") == {"settings"}
    assert states(findings, "not looked") == set(ALL) - {"settings"}
    assert "NEPTUNE_WINDOW_S" in findings["settings"]["said"]


def test_a_contract_that_cannot_be_loaded_hinders_only_what_needs_it(lake: Shelf) -> None:
    findings = checked(lake.neptune("check", "--json", NEPTUNE_CONTRACT="nowhere.module:Model"))
    assert states(findings, "wrong") == {"contract"}
    assert states(findings, "not looked") == {"table", "quarantine"}


def test_a_contract_that_refuses_or_takes_more_than_may_be_meant_is_pointed_out(lake: Shelf) -> None:
    findings = checked(lake.neptune("check", "--json", NEPTUNE_CONTRACT="tests.cli.strict:Strict"))
    assert findings["contract"]["state"] == "ok"
    assert findings["contract"]["hint"] == (
        "extra='forbid' refuses every message with a field that the contract does not name; "
        "NaN or Infinity may become values of open, above: Field(allow_inf_nan=False) refuses them"
    )


@pytest.mark.parametrize("field", ["open", "above", "between", "finite"])
def test_what_is_pointed_out_of_numbers_is_what_the_contract_does(field: str) -> None:
    whole = {"id": "a", "at": "2025-03-01T00:00:00Z", "open": 1.0, "above": 1.0, "between": 1.0}
    pointed_out = field in remarks(contract_of(Strict))[1].split(":")[0]
    taken = 0
    for odd in ("NaN", "Infinity", "-Infinity"):
        with contextlib.suppress(ValidationError):
            Strict.model_validate_json(json.dumps({**whole, field: float(odd)}))
            taken += 1
    assert pointed_out == (taken > 0)


def test_a_table_that_does_not_fit_is_named_with_its_columns(lake: Shelf) -> None:
    findings = checked(lake.neptune("check", "--json", NEPTUNE_CONTRACT="tests.contract.second_contract:Order"))
    assert "table" in states(findings, "wrong")
    assert "cannot take these rows" in findings["table"]["said"]
    assert findings["quarantine"]["state"] == "ok"


def test_tables_that_contradict_each_other_are_named_with_the_command_that_mends_it(lake: Shelf) -> None:
    lake.land([*good(2), None])
    lake.rows.catalog.drop_table(lake.rows.identifier)
    Shelf(lake.folder)
    findings = checked(lake.neptune("check", "--json"))
    assert findings["ledgers"]["state"] == "wrong"
    assert "do not belong together" in findings["ledgers"]["said"]
    assert "ledger set --from rows" in findings["ledgers"]["hint"]


def test_a_storage_that_is_no_folder_is_named(lake: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    properties = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/file"}
    findings = checked(lake.neptune("check", "--json", NEPTUNE_CATALOG_PROPERTIES=json.dumps(properties)))
    assert "storage" in states(findings, "wrong")
    assert findings["storage"]["said"].endswith("file is no folder")


def test_servers_that_take_a_connection_and_never_answer_do_not_hold_it_up(silence: str) -> None:
    own = {
        "KAFKA_BOOTSTRAP_SERVERS": silence,
        "ICEBERG_REST_URL": f"http://{silence}",
        "MINIO_ENDPOINT": f"http://{silence}",
    }
    began_s = time.monotonic()
    findings = checked(CliRunner(env=own).invoke(main, ["check", "--json", "--limit-s", "1"]))
    assert time.monotonic() - began_s < 10
    assert states(findings, "wrong") == {"Kafka", "storage", "catalog"}
    assert states(findings, "not looked") == {"topic", "table", "quarantine", "ledgers"}
    assert findings["catalog"]["said"] == "no answer within 1 s"
    assert findings["catalog"]["hint"].count("begin with the storage") == 1, "it may only wait for that"


def test_what_is_wrong_is_told_to_a_person_with_detail_and_hint(shelf: Shelf) -> None:
    shown = shelf.neptune("check").stdout
    assert "\nwrong       Kafka       Kafka at" in shown
    assert f"\n{'':24}hint: check that KAFKA_BOOTSTRAP_SERVERS" in shown
