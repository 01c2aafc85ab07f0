"""Manifests are merged in tiers, a little with every commit, and no row is lost, doubled or changed by it."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import cast

import pyarrow as pa
import pytest
from pyiceberg.manifest import ManifestContent, ManifestEntryStatus, ManifestFile
from pyiceberg.types import StringType

from neptune_flow.iceberg import Lake, LakeTable
from neptune_flow.iceberg.manifests import OpenManifest, Writer
from neptune_flow.iceberg.merging import (
    ENTRIES_PER_COMMIT_MIN,
    FULL_ENTRIES,
    INPUTS_PER_COMMIT_MAX,
    MERGE_COUNT,
    OVERDUE_COUNT,
    TIERS,
    Merger,
    due,
    tiers,
)
from neptune_flow.protocol import Outcome
from tests.iceberg.worlds import (
    DAY,
    attempt,
    foreign_append,
    foreign_file_delete,
    foreign_position_delete,
    land,
    manifest,
    offsets,
    open_table,
    rows,
    stock,
)

SMALL_COUNT = 4
"""Manifests that are merged together on a real table, so that few commits show much; by two entries a commit."""
MERGED_AFTER = 3 * SMALL_COUNT
"""Commits of one file each after which the first of them have been merged there."""


@pytest.fixture
def lake(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    merging = "neptune_flow.iceberg.merging"
    monkeypatch.setattr(f"{merging}.MERGE_COUNT", SMALL_COUNT)
    monkeypatch.setattr(f"{merging}.TIERS", (SMALL_COUNT, SMALL_COUNT**2, SMALL_COUNT**3))
    monkeypatch.setattr(f"{merging}.ENTRIES_PER_COMMIT_MIN", 2)
    return lake


def manifests_of(table: LakeTable) -> list[ManifestFile]:
    other = stock(table)
    snapshot = other.current_snapshot()
    assert snapshot is not None
    return snapshot.manifests(other.io)


def is_merged(table: LakeTable) -> bool:
    return any(m.existing_files_count for m in manifests_of(table))


# Which


def test_nothing_is_merged_before_enough_manifests_have_gathered() -> None:
    assert due([manifest(i, 1) for i in range(MERGE_COUNT - 1)]) == []


def test_the_oldest_of_a_tier_are_merged_when_enough_have_gathered() -> None:
    small, *_ = tiers([manifest(i, 1) for i in range(MERGE_COUNT + 3)][::-1], 0)
    assert [m.manifest_path for m in due(small)] == [f"m{i}" for i in range(MERGE_COUNT)]


def test_manifests_of_different_tiers_are_not_merged_with_each_other() -> None:
    small, large = [manifest(i, 1) for i in range(10)], [manifest(i, 100) for i in range(10, 20)]
    assert [len(tier) for tier in tiers([*small, *large], 0)] == [10, 10, 0]


def test_manifests_of_another_partition_spec_and_of_deletes_are_left_alone() -> None:
    other = [manifest(i, 1, spec_id=1) for i in range(20)]
    deletes = [manifest(i, 1, content=ManifestContent.DELETES) for i in range(20, 40)]
    assert list(tiers([*other, *deletes], 0)) == [[], [], []]


def test_a_merge_never_rewrites_more_than_a_full_manifest_has() -> None:
    chosen = due([manifest(i, 1000) for i in range(MERGE_COUNT)])
    assert sum(m.added_files_count or 0 for m in chosen) <= FULL_ENTRIES
    assert len(chosen) == 4


def test_full_manifests_are_never_touched_again() -> None:
    assert not any(tiers([manifest(i, FULL_ENTRIES) for i in range(100)], 0))
    assert due([manifest(i, FULL_ENTRIES - 1) for i in range(100)]) == []


# How much


class PaperManifest:
    """A manifest that counts its entries."""

    def __init__(self, writer: PaperWriter) -> None:
        self.writer = writer
        self.entries = 0

    def put(self, _entry: object) -> None:
        self.entries += 1
        self.writer.table.put += 1


class PaperWriter:
    """Writes nothing; has what a Merger asks of a Writer."""

    def __init__(self, table: PaperTable) -> None:
        self.table = table
        self.snapshot_id = table.commits

    def open(self) -> PaperManifest:
        return PaperManifest(self)

    def read(self, found: ManifestFile) -> list[None]:
        self.table.read += 1
        return [None] * ((found.added_files_count or 0) + (found.existing_files_count or 0))

    def close(self, opened: PaperManifest) -> ManifestFile:
        self.table.stored += 1
        return manifest(-self.table.stored, 0, existing=opened.entries)


class PaperTable:
    """Commits on paper."""

    metadata = SimpleNamespace(format_version=2, default_spec_id=0, current_schema_id=0)

    def __init__(self) -> None:
        self.live: list[ManifestFile] = []
        self.merger = Merger()
        self.commits = self.files = self.rewritten = self.stored = 0
        self.put = self.read = 0
        """By the last commit."""

    def commit(self, new_files: int) -> None:
        self.commits += 1
        self.put = self.read = 0
        merged = self.merger.step(cast(Writer, PaperWriter(self)), self.live, new_files)
        self.live = [m for m in self.live if m not in merged.replaced] + merged.new
        self.live.append(manifest(self.commits, new_files))
        self.rewritten += self.put
        self.files += new_files

    @property
    def unfilled(self) -> int:
        """Manifests of the list beside those that are full, or nearly so."""
        return len(self.live) - self.files // (FULL_ENTRIES // 2)


@pytest.fixture
def dice() -> random.Random:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    return random.Random(seed)


def test_the_number_of_manifests_grows_like_the_logarithm_and_each_entry_is_rewritten_thrice_at_most(
    dice: random.Random,
) -> None:
    table = PaperTable()
    for _ in range(20_000):
        table.commit(dice.choice([1, 1, 1, 2, 4]))
        assert table.unfilled <= len(TIERS) * 2 * MERGE_COUNT
    assert table.files <= table.rewritten <= 3 * table.files
    assert sum((m.added_files_count or 0) + (m.existing_files_count or 0) for m in table.live) == table.files


def test_no_commit_does_much_more_than_another() -> None:
    table = PaperTable()
    for _ in range(10_000):
        table.commit(1)
        assert table.put <= len(TIERS) * ENTRIES_PER_COMMIT_MIN
        assert table.read <= len(TIERS) * INPUTS_PER_COMMIT_MAX


def test_merging_keeps_ahead_of_commits_of_any_size(dice: random.Random) -> None:
    for size in (17, 60, 300, 5000):
        table = PaperTable()
        for _ in range(1_000):
            table.commit(dice.randrange(1, size))
            assert table.unfilled <= len(TIERS) * 2 * MERGE_COUNT


def test_processes_that_never_live_long_enough_keep_the_list_short_all_the_same(dice: random.Random) -> None:
    table = PaperTable()
    for _ in range(1_500):
        table.merger = Merger()
        for _ in range(dice.randrange(1, 8)):
            table.commit(1)
        assert table.unfilled <= len(TIERS) * OVERDUE_COUNT


# That nothing is lost


def test_after_many_merges_every_row_is_read_once_and_the_counts_are_right(table: LakeTable) -> None:
    total = 140
    merges = []
    look = table.look()
    for i in range(total):
        result = attempt(table, i + 1, [table.write_file([rows(i, 1)], DAY)], look=look)
        assert result.outcome is Outcome.LANDED
        merges.append(result.merged_entries)
        look = result.after or table.look()
    assert {SMALL_COUNT, SMALL_COUNT**2} <= set(merges)
    assert max(merges) >= SMALL_COUNT**3
    assert offsets(table) == list(range(total))
    assert table.row_count() == total
    assert len(manifests_of(table)) <= len(TIERS) * 2 * SMALL_COUNT
    assert sum((m.added_files_count or 0) + (m.existing_files_count or 0) for m in manifests_of(table)) == total
    summary = table.snapshots()[-1].summary
    assert (summary["total-data-files"], summary["total-records"]) == (str(total), str(total))


def test_a_merge_keeps_the_snapshot_and_the_sequence_number_of_each_file(table: LakeTable) -> None:
    made = {land(table, i, 1).snapshot_id: i + 1 for i in range(MERGED_AFTER)}
    entries = [e for m in manifests_of(table) for e in m.fetch_manifest_entry(stock(table).io)]
    assert {e.snapshot_id: e.sequence_number for e in entries} == made
    assert {e.snapshot_id: e.file_sequence_number for e in entries} == made
    statuses = {e.status for m in manifests_of(table) for e in m.fetch_manifest_entry(stock(table).io)}
    assert statuses == {ManifestEntryStatus.ADDED, ManifestEntryStatus.EXISTING}


@pytest.mark.parametrize("before", [SMALL_COUNT - 1, SMALL_COUNT + 1, MERGED_AFTER])
def test_rows_that_others_deleted_before_a_merge_in_its_midst_or_after_it_do_not_come_back(
    table: LakeTable, before: int
) -> None:
    for i in range(before):
        land(table, i, 1)
    stock(table).delete("_kafka.offset = 1")
    for i in range(before, 2 * MERGED_AFTER):
        land(table, i, 1)
    assert is_merged(table)
    assert offsets(table) == [i for i in range(2 * MERGED_AFTER) if i != 1]


def test_a_file_that_others_deleted_beside_ones_that_stay_does_not_come_back_by_a_merge(table: LakeTable) -> None:
    files = [table.write_file([rows(i, 1)], DAY) for i in range(3)]
    attempt(table, 3, files)
    foreign_file_delete(table, files[1].path)
    assert offsets(table) == [0, 2]
    for i in range(3, 3 + MERGED_AFTER):
        land(table, i, 1)
    assert is_merged(table)
    assert offsets(table) == [0, 2, *range(3, 3 + MERGED_AFTER)]


def test_rows_that_position_deletes_of_others_hide_stay_hidden_through_commits_and_merges(table: LakeTable) -> None:
    file = table.write_file([rows(0, 4)], DAY)
    attempt(table, 4, [file])
    foreign_position_delete(table, file.path, [1, 2])
    assert offsets(table) == [0, 3]
    for i in range(4, 4 + MERGED_AFTER):
        land(table, i, 1)
    assert is_merged(table)
    assert offsets(table) == [0, 3, *range(4, 4 + MERGED_AFTER)]
    assert [m.content for m in manifests_of(table)].count(ManifestContent.DELETES) == 1
    assert table.snapshots()[-1].summary["total-position-deletes"] == "2"


def test_the_files_of_others_are_merged_with_ones_own(table: LakeTable) -> None:
    for i in range(SMALL_COUNT):
        land(table, i, 1) if i % 2 else foreign_append(table, i, 1)
    merged = [land(table, i, 1).merged_entries for i in range(SMALL_COUNT, MERGED_AFTER)]
    assert SMALL_COUNT in merged
    assert offsets(table) == list(range(MERGED_AFTER))


def test_a_table_that_forbids_merging_is_left_unmerged(lake: Lake) -> None:
    table = open_table(lake, properties={"commit.manifest-merge.enabled": "false"})
    for i in range(MERGED_AFTER):
        assert land(table, i, 1).merged_entries == 0
    assert len(manifests_of(table)) == MERGED_AFTER


def test_filters_skip_nothing_they_should_not_after_a_merge(table: LakeTable) -> None:
    for i in range(MERGED_AFTER):
        land(table, i, 1, day=DAY + i % 3)
    assert is_merged(table)
    found = stock(table).scan(row_filter="event_date = '2023-11-15' and id = 'id-4'").to_arrow()
    assert pa.table(found).column("id").to_pylist() == ["id-4"]


def test_a_merge_that_was_named_in_a_commit_that_lost_a_race_is_named_in_the_next(lake: Lake, table: LakeTable) -> None:
    merging, rivals = 0, 0
    for i in range(MERGED_AFTER):
        look = table.look()
        if i >= SMALL_COUNT:
            foreign_append(table, 1000 + i, 1)
            rivals += 1
            assert attempt(table, i, [table.write_file([rows(i, 1)], DAY)], look=look).outcome is Outcome.REFUSED
        merging += land(table, i, 1).merged_entries
    assert merging >= SMALL_COUNT
    assert offsets(table) == [*range(MERGED_AFTER), *range(1000 + SMALL_COUNT, 1000 + SMALL_COUNT + rivals)]


def test_two_writers_that_merge_the_same_manifests_lose_and_double_nothing(lake: Lake, table: LakeTable) -> None:
    writers = table, open_table(lake)
    merged = [land(writers[i % 2], i, 1).merged_entries for i in range(2 * MERGED_AFTER)]
    assert sum(merged) >= SMALL_COUNT
    assert offsets(table) == list(range(2 * MERGED_AFTER))


def test_a_merge_from_memory_is_the_same_as_one_from_storage(lake: Lake) -> None:
    def entries(name: str, *, forgets: bool) -> list[tuple[object, ...]]:
        table = open_table(lake, name=name)
        for i in range(MERGED_AFTER):
            if forgets and table._merger is not None:
                table._merger._remembered.clear()
            land(table, i, 1)
        found = [e for m in manifests_of(table) for e in m.fetch_manifest_entry(stock(table).io)]
        files = [(e.status, e.sequence_number, e.file_sequence_number, e.data_file) for e in found]
        return [(*numbers, *(file[n] for n in range(1, len(file)) if n != 1)) for *numbers, file in files]

    assert entries("remembers", forgets=False) == entries("forgets", forgets=True)


def test_nothing_is_read_for_the_merge_of_what_the_process_itself_has_written(table: LakeTable) -> None:
    look, read = table.look(), 0
    for i in range(MERGED_AFTER):
        result = attempt(table, i + 1, [table.write_file([rows(i, 1)], DAY)], look=look)
        assert result.after
        look, read = result.after, read + result.objects_read
    assert is_merged(table)
    assert read == 0


def test_a_merge_that_a_change_of_the_columns_interrupts_is_begun_again(table: LakeTable) -> None:
    for i in range(SMALL_COUNT + 1):
        land(table, i, 1)
    assert not is_merged(table)
    stock(table).update_schema().add_column("note", StringType()).commit()
    for i in range(SMALL_COUNT + 1, 2 * MERGED_AFTER):
        land(table, i, 1)
    assert is_merged(table)
    assert offsets(table) == list(range(2 * MERGED_AFTER))


def test_a_merge_in_which_anything_goes_wrong_is_given_up(table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(SMALL_COUNT + 1):
        land(table, i, 1)
    with monkeypatch.context() as patched:
        patched.setattr(OpenManifest, "put", _fails)
        with pytest.raises(ZeroDivisionError):
            attempt(table, 0)
    for i in range(SMALL_COUNT + 1, 2 * MERGED_AFTER):
        land(table, i, 1)
    assert is_merged(table)
    assert offsets(table) == list(range(2 * MERGED_AFTER))


def _fails(*_: object) -> None:
    raise ZeroDivisionError
