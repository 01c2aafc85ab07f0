"""One attempt: what it lands, what refuses it, and what is said when nobody can know."""

from __future__ import annotations

import concurrent.futures
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    BadRequestError,
    CommitFailedException,
    CommitStateUnknownException,
    ForbiddenError,
    RESTError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
)
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.types import StringType
from requests import HTTPError, ReadTimeout, Response
from sqlalchemy.exc import OperationalError

from neptune_flow.errors import AccessDenied, Unavailable
from neptune_flow.iceberg import Lake, LakeTable
from neptune_flow.iceberg.commit import classify
from neptune_flow.ledger import SUMMARY_KEY, TAG, Ledger
from neptune_flow.protocol import Outcome
from neptune_flow.records import Stretch
from tests.iceberg.worlds import (
    DAY,
    TroubledCatalog,
    attempt,
    foreign_append,
    land,
    ledger,
    offsets,
    open_table,
    rows,
    stock,
    troubled_lake,
)


@pytest.fixture
def troubled(tmp_path: Path) -> tuple[LakeTable, TroubledCatalog]:
    lake, catalog = troubled_lake(tmp_path)
    return open_table(lake), catalog


def all_files(folder: Path) -> set[Path]:
    return {path for path in (folder / "warehouse").rglob("*") if path.is_file()}


def test_rows_and_ledger_land_together(table: LakeTable) -> None:
    file = table.write_file([rows(0, 5)], DAY)
    result = attempt(table, 5, [file], commit="first", summary={"neptune.watermark-least": "17"})
    assert result.outcome is Outcome.LANDED
    assert (result.error, result.cause, result.manifests, result.objects_written) == ("", None, 1, 2)
    assert offsets(table) == [0, 1, 2, 3, 4]
    summary = table.snapshots()[-1].summary
    assert summary["neptune.watermark-least"] == "17"
    assert summary["neptune.commit"] == "first"
    assert summary[SUMMARY_KEY] == ledger(5, "first").to_json()


def test_the_summary_counts_as_icebergs_own_writers_do(lake: Lake) -> None:
    ours, theirs = open_table(lake), open_table(lake, name="other")
    for i in range(2):
        files = [ours.write_file([rows(i * 10, 3, day=day)], day) for day in (DAY, DAY + 1)]
        attempt(ours, i, files)
        other = stock(theirs)
        other.append(ours.to_arrow())
    counted = ours.snapshots()[-1].summary
    known = {
        "added-data-files": "2",
        "added-records": "6",
        "changed-partition-count": "2",
        "total-data-files": "4",
        "total-records": "12",
        "total-delete-files": "0",
        "total-position-deletes": "0",
        "total-equality-deletes": "0",
    }
    assert {key: counted[key] for key in known} == known
    assert int(counted["total-files-size"]) == sum(file.size_bytes for file in ours.files())
    assert set(theirs.snapshots()[-1].summary) - set(counted) == set()


def test_a_ledger_moves_without_any_file(table: LakeTable) -> None:
    result = attempt(table, 7)
    assert result.outcome is Outcome.LANDED
    assert table.look().ledger == ledger(7)
    assert table.row_count() == 0
    land(table, 7, 2)
    assert attempt(table, 9).outcome is Outcome.LANDED
    assert offsets(table) == [7, 8]


def test_a_ledger_of_64_partitions_lands_in_one_commit_with_one_file_of_all_their_rows(table: LakeTable) -> None:
    partitions = range(64)
    file = table.write_file([rows(0, 3, partition=p) for p in partitions], DAY)
    whole = Ledger("sessions", None).advance([Stretch(p, 0, 3, row_count=3) for p in partitions], "c")
    result = table.attempt(table.look(), [file], whole, "c", {})
    assert (result.outcome, result.objects_written) == (Outcome.LANDED, 2)
    assert table.look().ledger == whole
    assert offsets(table) == sorted([0, 1, 2] * 64)


def test_of_two_attempts_upon_the_same_look_only_one_lands(lake: Lake, table: LakeTable) -> None:
    rival = open_table(lake)
    look, rivals_look = table.look(), rival.look()
    assert attempt(table, 3, [table.write_file([rows(0, 3)], DAY)], look=look).outcome is Outcome.LANDED
    lost = attempt(rival, 3, [rival.write_file([rows(0, 3)], DAY)], look=rivals_look)
    assert lost.outcome is Outcome.REFUSED
    assert lost.cause is None
    assert "main" in lost.error
    assert offsets(table) == [0, 1, 2]


def test_of_many_attempts_at_the_same_time_only_one_lands(lake: Lake, table: LakeTable) -> None:
    land(table, 0, 1)
    rivals = [open_table(lake) for _ in range(6)]
    looks = [rival.look() for rival in rivals]
    files = [[rival.write_file([rows(1, 1)], DAY)] for rival in rivals]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda rival, look, f: attempt(rival, 2, f, look=look), rivals, looks, files))
    assert [r.outcome for r in results].count(Outcome.LANDED) == 1
    assert offsets(table) == [0, 1]


def test_an_attempt_upon_a_look_before_a_foreign_commit_is_refused(table: LakeTable) -> None:
    land(table, 0, 1)
    look = table.look()
    foreign_append(table, 100, 1)
    assert attempt(table, 2, look=look).outcome is Outcome.REFUSED
    assert attempt(table, 2).outcome is Outcome.LANDED


def test_an_attempt_is_refused_if_the_tag_was_moved_since_the_look(table: LakeTable) -> None:
    first = land(table, 0, 1)
    land(table, 1, 1)
    look = table.look()
    stock(table).manage_snapshots().create_tag(first.snapshot_id, TAG).commit()
    refused = attempt(table, 3, look=look)
    assert refused.outcome is Outcome.REFUSED
    assert TAG in refused.error


def test_an_attempt_is_refused_if_the_tag_was_made_since_the_look(table: LakeTable) -> None:
    foreign = foreign_append(table, 100, 1)
    look = table.look()
    stock(table).manage_snapshots().create_tag(foreign, TAG).commit()
    assert attempt(table, 3, look=look).outcome is Outcome.REFUSED


def test_an_attempt_is_refused_if_schema_or_partitioning_changed_since_the_look(table: LakeTable) -> None:
    look = table.look()
    stock(table).update_schema().add_column("note", StringType()).commit()
    assert attempt(table, 1, look=look).outcome is Outcome.REFUSED
    look = table.look()
    with stock(table).update_spec() as spec:
        spec.remove_field("event_date")
    assert attempt(table, 1, look=look).outcome is Outcome.REFUSED


def test_an_attempt_is_refused_if_the_table_was_created_again(lake: Lake, table: LakeTable) -> None:
    look = table.look()
    table.catalog.drop_table(table.identifier)
    open_table(lake)
    assert attempt(table, 1, look=look).outcome is Outcome.REFUSED


def test_the_table_after_a_landed_attempt_is_good_for_the_next_one(table: LakeTable) -> None:
    first = attempt(table, 1, [table.write_file([rows(0, 1)], DAY)])
    assert first.after == table.look()
    second = attempt(table, 2, [table.write_file([rows(1, 1)], DAY)], look=first.after)
    assert second.outcome is Outcome.LANDED
    assert second.objects_read == 0
    assert offsets(table) == [0, 1]


def test_an_answer_that_is_lost_after_the_commit_was_applied_is_unknown_and_nothing_is_deleted(
    troubled: tuple[LakeTable, TroubledCatalog], tmp_path: Path
) -> None:
    table, catalog = troubled
    land(table, 0, 2)
    catalog.after = ReadTimeout("no answer")
    file = table.write_file([rows(2, 2)], DAY)
    before = all_files(tmp_path)
    result = attempt(table, 4, [file], commit="lost")
    assert (result.outcome, result.after) == (Outcome.UNKNOWN, None)
    assert isinstance(result.cause, Unavailable)
    assert before < all_files(tmp_path)
    assert table.look().ledger == ledger(4, "lost")
    assert offsets(table) == [0, 1, 2, 3]
    catalog.after = None
    land(table, 4, 1)
    assert offsets(table) == [0, 1, 2, 3, 4]


def test_a_failure_before_the_commit_was_applied_is_unknown_too_and_nothing_is_deleted(
    troubled: tuple[LakeTable, TroubledCatalog], tmp_path: Path
) -> None:
    table, catalog = troubled
    land(table, 0, 2)
    catalog.before = ConnectionResetError("gone")
    file = table.write_file([rows(2, 2)], DAY)
    before = all_files(tmp_path)
    assert attempt(table, 4, [file]).outcome is Outcome.UNKNOWN
    assert before < all_files(tmp_path)
    assert table.look().ledger == ledger(2, "c0")
    catalog.before = None
    assert attempt(table, 4, [file]).outcome is Outcome.LANDED
    assert offsets(table) == [0, 1, 2, 3]


def test_an_answer_that_does_not_show_the_snapshot_is_unknown(
    troubled: tuple[LakeTable, TroubledCatalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, catalog = troubled
    land(table, 0, 1)
    stale = stock(table)
    applied = catalog.commit_table

    def answers_with_the_past(*arguments: object) -> object:
        answer = applied(*arguments)  # type: ignore[arg-type]
        return answer.model_copy(update={"metadata": stale.metadata})

    monkeypatch.setattr(catalog, "commit_table", answers_with_the_past)
    result = attempt(table, 2)
    assert result.outcome is Outcome.UNKNOWN
    assert "does not show" in result.error


def test_a_storage_that_fails_before_anything_is_sent_refuses_the_attempt(lake: Lake, tmp_path: Path) -> None:
    table = open_table(lake, properties={"write.metadata.path": f"file://{tmp_path}/elsewhere"})
    look = table.look()
    folder = tmp_path / "elsewhere"
    for path in folder.iterdir():
        path.rename(tmp_path / path.name)
    folder.rmdir()
    folder.write_text("a file where a folder should be")
    result = attempt(table, 1, [table.write_file([rows(0, 1)], DAY)], look=look)
    assert result.outcome is Outcome.REFUSED
    assert isinstance(result.cause, Unavailable)
    assert "writing the manifests of default.events" in result.error


def http(error: type[RESTError], status: int) -> RESTError:
    response = Response()
    response.status_code = status
    result = error(f"HTTP {status}")
    result.__cause__ = HTTPError(response=response)
    return result


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CommitFailedException("conflict"), Outcome.REFUSED),
        (http(BadRequestError, 400), Outcome.REFUSED),
        (http(UnauthorizedError, 401), Outcome.REFUSED),
        (http(ForbiddenError, 403), Outcome.REFUSED),
        (http(RESTError, 404), Outcome.REFUSED),
        (http(AuthorizationExpiredError, 419), Outcome.REFUSED),
        (http(TooManyRequestsError, 429), Outcome.REFUSED),
        (http(RESTError, 408), Outcome.UNKNOWN),
        (http(CommitStateUnknownException, 500), Outcome.UNKNOWN),
        (http(CommitStateUnknownException, 502), Outcome.UNKNOWN),
        (http(ServiceUnavailableError, 503), Outcome.UNKNOWN),
        (http(CommitStateUnknownException, 504), Outcome.UNKNOWN),
        (ReadTimeout("read timed out"), Outcome.UNKNOWN),
        (ConnectionResetError("reset"), Outcome.UNKNOWN),
        (OperationalError("update", {}, Exception("database is locked")), Outcome.UNKNOWN),
        (ValueError("half an answer"), Outcome.UNKNOWN),
        (AssertionError("anything"), Outcome.UNKNOWN),
    ],
)
def test_only_answers_that_mean_not_applied_are_refusals(error: Exception, outcome: Outcome) -> None:
    assert classify(error) is outcome


def test_a_refused_token_is_told_as_denied_access(troubled: tuple[LakeTable, TroubledCatalog]) -> None:
    table, catalog = troubled
    catalog.before = http(ForbiddenError, 403)
    assert isinstance(attempt(table, 1).cause, AccessDenied)


def test_mains_retention_settings_survive_and_the_tag_has_none(table: LakeTable) -> None:
    land(table, 0, 1)
    head = table.look().head
    assert head is not None
    stock(table).manage_snapshots().create_branch(
        head, "main", min_snapshots_to_keep=7, max_snapshot_age_ms=10**12
    ).commit()
    land(table, 1, 1)
    refs = stock(table).refs()
    assert (refs["main"].min_snapshots_to_keep, refs["main"].max_snapshot_age_ms) == (7, 10**12)
    assert (refs[TAG].snapshot_ref_type, refs[TAG].max_ref_age_ms) == (SnapshotRefType.TAG, None)


def test_old_metadata_files_do_not_pile_up(lake: Lake, tmp_path: Path) -> None:
    table = open_table(lake, properties={"write.metadata.previous-versions-max": "3"})
    for i in range(8):
        land(table, i, 1)
    assert len(list((tmp_path / "warehouse/default/events/metadata").glob("*.metadata.json"))) == 4


def test_metadata_files_stay_where_the_table_does_not_ask_for_their_removal(lake: Lake, tmp_path: Path) -> None:
    table = open_table(
        lake,
        properties={"write.metadata.previous-versions-max": "3", "write.metadata.delete-after-commit.enabled": "false"},
    )
    for i in range(8):
        land(table, i, 1)
    assert len(list((tmp_path / "warehouse/default/events/metadata").glob("*.metadata.json"))) == 9


def test_a_clock_that_runs_behind_does_not_make_time_run_backwards(
    table: LakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(table, 0, 1)
    monkeypatch.setattr(time, "time", lambda: 1.0)
    land(table, 1, 1)
    first, second = table.snapshots()
    assert second.timestamp_ms >= first.timestamp_ms


def test_manifests_of_an_older_partition_spec_are_carried_over(lake: Lake, table: LakeTable) -> None:
    land(table, 0, 3)
    with stock(table).update_spec() as spec:
        spec.remove_field("event_date")
    stock(table).append(pa.Table.from_batches([rows(100, 1)]))
    with stock(table).update_spec() as spec:
        spec.add_identity("event_date")
    land(open_table(lake), 3, 1)
    assert offsets(table) == [0, 1, 2, 3, 100]
    snapshot = stock(table).current_snapshot()
    assert snapshot is not None
    assert len({m.partition_spec_id for m in snapshot.manifests(stock(table).io)}) == 2
