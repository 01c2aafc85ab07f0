"""The package on a real object storage and a real Iceberg REST catalog, that can be stopped in the middle of a call."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.fs as pafs
import pytest
from pyiceberg.types import StringType

from neptune_flow.errors import AccessDenied, Unavailable
from neptune_flow.iceberg import Lake, LakeTable
from neptune_flow.ledger import TAG
from neptune_flow.protocol import Outcome
from tests.iceberg.worlds import (
    DAY,
    attempt,
    foreign_append,
    land,
    ledger,
    offsets,
    open_table,
    rows,
    stock,
)
from tests.services.servers import ObjectStorage, RestCatalog, object_storage

pytestmark = pytest.mark.services

BUCKET = "neptune"
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Servers:
    storage: ObjectStorage
    catalog: RestCatalog

    def lake(self, **more: str) -> Lake:
        properties = {
            "type": "rest",
            "uri": self.catalog.uri,
            "s3.endpoint": self.storage.endpoint,
            "s3.access-key-id": self.storage.access_key,
            "s3.secret-access-key": self.storage.secret_key,
            **more,
        }
        return Lake.open("catalog", properties, request_timeout_s=TIMEOUT_S)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with object_storage() as storage, RestCatalog(storage, bucket=BUCKET) as catalog:
        found = Servers(storage, catalog)
        found.lake().ensure_bucket(BUCKET)
        yield found


@pytest.fixture
def lake(servers: Servers) -> Lake:
    return servers.lake()


@pytest.fixture
def table(lake: Lake) -> LakeTable:
    return open_table(lake, name=f"events_{uuid.uuid4().hex}")


def test_the_bucket_is_made_once_and_found_afterwards(servers: Servers, lake: Lake) -> None:
    name = f"bucket-{uuid.uuid4().hex}"
    with pytest.raises(Unavailable, match="no such bucket"):
        lake.check_storage(f"s3://{name}")
    lake.ensure_bucket(name)
    lake.ensure_bucket(name)
    lake.check_storage(f"s3://{name}")
    assert servers.storage.filesystem().get_file_info(pafs.FileSelector(name)) == []


@pytest.mark.parametrize("wrong", ["s3.access-key-id", "s3.secret-access-key"])
def test_wrong_keys_are_refused_and_not_shown(servers: Servers, wrong: str) -> None:
    lake = servers.lake(**{wrong: "geheimnisvoll"})
    with pytest.raises(AccessDenied, match=servers.storage.endpoint) as denied:
        lake.check_storage(f"s3://{BUCKET}")
    assert "geheimnisvoll" not in str(denied.value)
    with pytest.raises(AccessDenied, match=servers.storage.endpoint):
        lake.ensure_bucket(BUCKET)


def test_fresh_credentials_of_the_catalog_are_taken_up_in_the_middle_of_the_work(servers: Servers) -> None:
    lake = servers.lake()
    table = open_table(lake, name=f"events_{uuid.uuid4().hex}")
    right = table.catalog.properties["s3.secret-access-key"]
    table.catalog.properties["s3.secret-access-key"] = "expired-by-now"
    table.look()
    with pytest.raises(AccessDenied):
        table.write_file([rows(0, 1)], DAY)
    table.catalog.properties["s3.secret-access-key"] = right
    attempt(table, 1, [table.write_file([rows(0, 1)], DAY)])
    assert offsets(table) == [0]


def test_commits_land_are_merged_and_expired(table: LakeTable) -> None:
    eager = open_table(Lake(table.catalog, table.faults), name=table.identifier[-1], snapshots_max=3)
    results = [land(eager, i, 1, day=DAY + i % 2) for i in range(28)]
    assert sum(result.merged_entries for result in results) == 16
    assert len(eager.snapshots()) == 3
    assert offsets(eager) == list(range(28))
    assert eager.look().ledger == ledger(28, "c27")
    assert stock(eager).refs()[TAG].snapshot_id == results[-1].snapshot_id


def test_metadata_files_do_not_pile_up(servers: Servers, table: LakeTable) -> None:
    for i in range(14):
        attempt(table, i)
    folder = pafs.FileSelector(f"{BUCKET}/default/{table.identifier[-1]}/metadata")
    names = [info.path for info in servers.storage.filesystem().get_file_info(folder)]
    assert len([name for name in names if name.endswith(".metadata.json")]) == 11


def test_of_two_attempts_upon_the_same_look_only_one_lands(table: LakeTable) -> None:
    look = table.look()
    assert attempt(table, 1, look=look).outcome is Outcome.LANDED
    lost = attempt(table, 1, look=look)
    assert (lost.outcome, lost.cause) == (Outcome.REFUSED, None)
    look = table.look()
    foreign_append(table, 100, 1)
    assert attempt(table, 2, look=look).outcome is Outcome.REFUSED
    look = table.look()
    stock(table).manage_snapshots().remove_tag(TAG).commit()
    assert attempt(table, 2, look=look).outcome is Outcome.REFUSED


def test_an_attempt_is_refused_if_the_schema_changed_since_the_look(table: LakeTable) -> None:
    look = table.look()
    stock(table).update_schema().add_column("note", StringType()).commit()
    assert attempt(table, 1, look=look).outcome is Outcome.REFUSED


def test_a_commit_that_a_stopped_catalog_applies_later_is_unknown_and_then_found(
    servers: Servers, table: LakeTable
) -> None:
    file = table.write_file([rows(0, 3)], DAY)
    look = table.look()
    with servers.catalog.paused():
        result = attempt(table, 3, [file], look=look, commit="late")
        with pytest.raises(Unavailable, match=f"catalog at {servers.catalog.uri}"):
            table.look()
    assert result.outcome is Outcome.UNKNOWN
    again = attempt(table, 3, [file], look=look, commit="late")
    assert again.outcome in (Outcome.LANDED, Outcome.REFUSED)
    assert table.look().ledger == ledger(3, "late")
    assert offsets(table) == [0, 1, 2]


class OneTry(pafs.AwsStandardS3RetryStrategy):  # type: ignore[misc]
    """An S3 client's retries can be chosen; one try makes the test short."""

    def __init__(self) -> None:
        super().__init__(max_attempts=1)


def test_a_storage_that_stands_still_refuses_the_attempt_within_its_limits(servers: Servers) -> None:
    lake = servers.lake(**{"s3.retry-strategy-impl": f"{OneTry.__module__}.{OneTry.__qualname__}"})
    table = open_table(lake, name=f"events_{uuid.uuid4().hex}")
    look = table.look()
    with servers.storage.paused():
        with pytest.raises(Unavailable, match=f"storage at {servers.storage.endpoint}"):
            table.write_file([rows(0, 1)], DAY)
        result = attempt(table, 1, look=look)
    assert result.outcome is Outcome.REFUSED
    assert isinstance(result.cause, Unavailable)
    land(table, 0, 1)
    assert offsets(table) == [0]


def test_a_catalog_that_was_killed_is_reported_and_found_again(servers: Servers, lake: Lake, table: LakeTable) -> None:
    look = table.look()
    servers.catalog.kill()
    try:
        assert attempt(table, 1, look=look).outcome is Outcome.UNKNOWN
        with pytest.raises(Unavailable, match=servers.catalog.uri):
            lake.check_catalog()
        with pytest.raises(Unavailable, match=servers.catalog.uri):
            servers.lake()
    finally:
        servers.catalog.start()
    assert table.look().ledger is None
    land(table, 0, 1)


@pytest.mark.parametrize("encodings", ["plain", "compact"])
def test_clickhouse_reads_the_same_rows_over_s3(servers: Servers, lake: Lake, encodings: str) -> None:
    chdb = pytest.importorskip("chdb")
    table = open_table(lake, name=f"events_{uuid.uuid4().hex}", properties={"neptune.parquet.encodings": encodings})
    for i in range(18):
        attempt(table, i, [table.write_file([rows(i * 100, 100, day=DAY + i % 2)], DAY + i % 2)])
    place = f"{servers.storage.endpoint}/{BUCKET}/default/{table.identifier[-1]}"
    keys = f"'{servers.storage.access_key}', '{servers.storage.secret_key}'"
    columns = "count(), uniqExact(id), sum(tupleElement(_kafka, 'offset')), uniqExact(event_date)"
    query = f"SELECT {columns} FROM icebergS3('{place}', {keys})"  # noqa: S608
    assert str(chdb.query(query, "CSV")).strip() == f"1800,1800,{sum(range(1800))},2"
