"""The committing shell: in which order it acts, what it claims, and how each answer of a table is driven to an end."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from neptune_flow.errors import LedgerConflict, NeptuneError, Superseded, Unavailable
from neptune_flow.landing import Landed, land
from neptune_flow.ledger import Entry, Ledger
from neptune_flow.patience import Patience
from neptune_flow.protocol import Claim, Look, Offer, Outcome
from neptune_flow.records import DataFile, DayBatch, Pile, Stretch
from neptune_flow.sink import CROWDED_COMMITS, CommitSink, Committer, KnownAtStart
from neptune_flow.spool import Spool, SpoolBudget
from neptune_flow.telemetry import configure_logging
from tests.storage import DAY, MemoryStorage, columns, offsets_of

US = 1_000_000
TOPIC, TOPIC_ID = "topic", "topic-id"


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    yield stream
    configure_logging("WARNING", "json")


class NoPause(threading.Event):
    """A stop signal that never comes, and that nobody waits for."""

    def wait(self, timeout: float | None = None) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class PinnedLook(Look):
    version: int


@dataclass(frozen=True, slots=True)
class Attempt:
    outcome: Outcome
    snapshot_id: int | None = None
    error: str = ""
    after: PinnedLook | None = None


Answer = Callable[["Table", Callable[[], Attempt]], Attempt]


@dataclass
class Table:
    """A table with compare-and-swap; `answers` says what becomes of the next attempts, after that all goes well."""

    name: str
    events: list[str]
    answers: list[Answer] = field(default_factory=list)
    ledger: Ledger | None = None
    paths: list[str] = field(default_factory=list)
    summaries: list[Mapping[str, str]] = field(default_factory=list)
    version: int = 0

    def look(self) -> PinnedLook:
        self.events.append(f"look at {self.name}")
        return PinnedLook(self.ledger, self.version)

    def attempt(
        self, look: PinnedLook, files: Sequence[DataFile], ledger: Ledger, commit_id: str, summary: Mapping[str, str]
    ) -> Attempt:
        assert all(ledger.entries[p].commit == commit_id for p in ledger.entries if _moved(self.ledger, ledger, p))
        number = f"{len(files)} files" if files else "nothing"
        self.events.append(f"land {number} in {self.name}")

        def apply() -> Attempt:
            if look.version != self.version:
                return Attempt(Outcome.REFUSED, error="stale")
            self.ledger, self.version = ledger, self.version + 1
            self.paths += [f.path for f in files]
            self.summaries.append(summary)
            return Attempt(Outcome.LANDED, 1000 + self.version, after=PinnedLook(ledger, self.version))

        return self.answers.pop(0)(self, apply) if self.answers else apply()


def _moved(old: Ledger | None, new: Ledger, partition: int) -> bool:
    return old is None or old.entries.get(partition) != new.entries[partition]


def refused(table: Table, apply: Callable[[], Attempt]) -> Attempt:
    return Attempt(Outcome.REFUSED, error="refused")


def answer_lost(table: Table, apply: Callable[[], Attempt]) -> Attempt:
    apply()
    return Attempt(Outcome.UNKNOWN, error="no answer")


def never_arrived(table: Table, apply: Callable[[], Attempt]) -> Attempt:
    return Attempt(Outcome.UNKNOWN, error="no answer")


def first_comes(partition: int, end: int) -> Answer:
    """Another writer's commit lands just before."""

    def answer(table: Table, apply: Callable[[], Attempt]) -> Attempt:
        ledger = table.ledger or Ledger(TOPIC, TOPIC_ID)
        entry = ledger.entries.get(partition)
        first = entry.next if entry else 0
        table.ledger = ledger.advance([Stretch(partition, first, end, row_count=end - first)], "theirs")
        table.version += 1
        return apply()

    return answer


def patience(limit_s: float = 60.0) -> Patience:
    return Patience(limit_s, NoPause())


# One commit to one table


def _land(table: Table, *claims: Claim, advance: Callable[[Ledger], Ledger] | None = None) -> Landed:
    stretches = [Stretch(c.partition, c.begins or 0, (c.begins or 0) + 5, row_count=5) for c in claims]
    return land(
        table,
        Offer("ours", TOPIC, TOPIC_ID, claims),
        (),
        advance or (lambda ledger: ledger.advance(stretches, "ours")),
        lambda ledger: {"total": str(sum(e.rows for e in ledger.entries.values()))},
        patience(),
    )


NEW = Claim(0, None, None)


def test_a_commit_lands_with_the_first_attempt_if_nothing_is_in_the_way() -> None:
    table = Table("t", [])
    landed = _land(table, NEW)
    assert (landed.attempts, landed.lost_races, landed.unknown, landed.snapshot_id) == (1, 0, 0, 1001)
    assert table.events == ["look at t", "land nothing in t"]
    assert landed.ledger == table.ledger


def test_a_refused_attempt_is_made_again_upon_a_fresh_look() -> None:
    table = Table("t", [], [refused, refused])
    landed = _land(table, NEW)
    assert (landed.attempts, landed.lost_races) == (3, 2)
    assert table.events == ["look at t", "land nothing in t"] * 3


def test_a_race_lost_to_the_owner_of_another_partition_is_run_again_and_keeps_what_the_other_landed() -> None:
    table = Table("t", [], [first_comes(1, 9)])
    landed = _land(table, NEW)
    assert (landed.attempts, landed.lost_races) == (2, 1)
    assert {p: e.next for p, e in landed.ledger.entries.items()} == {0: 5, 1: 9}
    assert table.summaries == [{"total": "14"}]


def test_a_commit_whose_answer_was_lost_is_found_in_the_ledger_and_not_made_again() -> None:
    table = Table("t", [], [answer_lost])
    landed = _land(table, NEW)
    assert (landed.attempts, landed.unknown, table.version) == (1, 1, 1)
    assert table.events == ["look at t", "land nothing in t", "look at t"]
    assert landed.ledger == table.ledger


def test_a_commit_that_never_arrived_is_made_again() -> None:
    table = Table("t", [], [never_arrived])
    landed = _land(table, NEW)
    assert (landed.attempts, landed.unknown, table.version) == (2, 1, 1)


def test_a_writer_of_the_same_partition_that_came_first_ends_it_with_both_offsets_in_the_message() -> None:
    table = Table("t", [], [first_comes(0, 9)])
    with pytest.raises(Superseded) as caught:
        _land(table, NEW)
    assert "partition 0" in caught.value.detail
    assert "9" in caught.value.detail
    assert table.paths == []


def test_a_table_of_another_topic_is_left_alone() -> None:
    table = Table("t", [], ledger=Ledger("other", None))
    with pytest.raises(LedgerConflict, match="another topic"):
        _land(table, NEW)
    assert table.events == ["look at t"]


def test_a_catalog_that_is_away_while_looking_is_asked_again() -> None:
    table = Table("t", [])
    away = iter([True, True, False])
    look = table.look

    def sometimes() -> PinnedLook:
        if next(away):
            raise Unavailable("the catalog is away")
        return look()

    table.look = sometimes  # type: ignore[method-assign]
    assert _land(table, NEW).attempts == 1


def test_when_patience_ends_the_last_attempt_and_its_outcome_are_in_the_message() -> None:
    table = Table("t", [], [never_arrived])
    with pytest.raises(Unavailable, match="attempt 1 of commit ours is unknown") as caught:
        land(table, Offer("ours", TOPIC, TOPIC_ID, (NEW,)), (), lambda ledger: ledger, lambda _: {}, patience(0.0))
    assert caught.value.detail == "no answer"
    assert "nothing is lost" in caught.value.hint


def test_a_stretch_that_does_not_join_the_ledger_is_never_attempted() -> None:
    table = Table("t", [], ledger=Ledger(TOPIC, TOPIC_ID, {0: Entry(0, 7, "c", rows=7)}))
    wrong = Stretch(0, 6, 8, row_count=2)
    with pytest.raises(ValueError, match="does not join"):
        _land(table, Claim(0, 7, "c"), advance=lambda ledger: ledger.advance([wrong], "ours"))
    assert table.version == 0


# The committer


@dataclass
class Bench:
    """A committer and all it touches."""

    events: list[str] = field(default_factory=list)
    known: KnownAtStart = field(default_factory=lambda: KnownAtStart(TOPIC, TOPIC_ID))
    budget_bytes: int = 1 << 30
    verify: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.rows, self.quarantine = Table("rows", self.events), Table("quarantine", self.events)
        if self.known.rows:
            self.rows.ledger = Ledger(TOPIC, TOPIC_ID, self.known.rows)
        if self.known.rejects:
            self.quarantine.ledger = Ledger(TOPIC, TOPIC_ID, self.known.rejects)
        self.rows_files, self.reject_files = MemoryStorage(), MemoryStorage()
        self.published: list[Mapping[int, int]] = []
        budget = SpoolBudget(self.budget_bytes)
        self.committer = Committer(
            self.rows,
            self.quarantine,
            Spool(self.rows_files, DAY, budget),
            Spool(self.reject_files, DAY, budget),
            self.known,
            patience(),
            self._publish,
            verify=self.verify,
        )

    def _publish(self, offsets: Mapping[int, int]) -> None:
        self.events.append("publish")
        self.published.append(dict(offsets))

    def commit(self, *stretches: Stretch) -> list[str]:
        """One epoch; returns what happened in it."""
        self.events.clear()
        self.committer.write_batch(list(stretches))
        self.committer.snapshot()
        return [e for e in self.events if not e.startswith("look")]

    def landed(self, table: Table, files: MemoryStorage) -> list[int]:
        return sorted(o for path in table.paths for o in files.files[path])


def stretch(partition: int, first: int, rows: int = 0, rejects: int = 0, **facts: Any) -> Stretch:
    """Rows come first, then rejects."""
    middle, end = first + rows, first + rows + rejects
    return Stretch(
        partition,
        first,
        end + sum(facts.get(name, 0) for name in ("refused_before", "left_out", "lost")),
        row_count=rows,
        reject_count=rejects,
        rows=Pile(tail=(DayBatch(0, columns(range(first, middle))),)) if rows else Pile(),
        rejects=Pile(tail=(DayBatch(0, columns(range(middle, end))),)) if rejects else Pile(),
        **facts,
    )


FENCES = ["land nothing in rows", "land nothing in quarantine"]


def test_a_partitions_first_commit_fences_rows_then_quarantine_before_it_takes_anything() -> None:
    assert Bench().commit(stretch(0, 0, rows=3)) == [*FENCES, "land 1 files in rows", "publish"]


def test_after_that_rows_without_rejects_touch_only_the_table() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=3))
    assert bench.commit(stretch(0, 3, rows=3)) == ["land 1 files in rows", "publish"]


def test_rejects_land_before_rows_and_the_groups_offsets_last() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0))
    assert bench.commit(stretch(0, 0, rows=3, rejects=2)) == [
        "land 1 files in quarantine",
        "land 1 files in rows",
        "publish",
    ]
    assert bench.landed(bench.rows, bench.rows_files) == [0, 1, 2]
    assert bench.landed(bench.quarantine, bench.reject_files) == [3, 4]
    assert bench.published[-1] == {0: 5}


def test_each_new_partition_is_fenced_once() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=1))
    assert bench.commit(stretch(0, 1, rows=1), stretch(1, 5, rows=1))[:2] == FENCES
    assert bench.commit(stretch(1, 6, rows=1), stretch(0, 2, rows=1)) == ["land 1 files in rows", "publish"]


def test_a_commit_with_more_rejects_than_rows_warns(log: io.StringIO) -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=20, rejects=19))
    assert "mostly_refused" not in log.getvalue()
    bench.commit(stretch(0, 39, rows=19, rejects=20))
    assert json.loads(log.getvalue().splitlines()[-1])["event"] == "mostly_refused"


def test_an_epoch_without_stretches_commits_nothing() -> None:
    bench = Bench()
    assert bench.commit() == []
    assert bench.events == []


def test_nothing_is_committed_at_close() -> None:
    """Bytewax calls it after a failure, too."""
    bench = Bench()
    bench.committer.write_batch([stretch(0, 0, rows=3)])
    bench.committer.close()
    assert bench.events == []


def test_the_tails_of_all_partitions_become_one_file_for_each_day() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=2), stretch(1, 10, rows=2), stretch(0, 2, rows=1))
    assert bench.landed(bench.rows, bench.rows_files) == [0, 1, 2, 10, 11]
    assert len(bench.rows.paths) == 1
    assert bench.rows.ledger is not None
    assert {p: (e.first, e.next, e.rows) for p, e in bench.rows.ledger.entries.items()} == {
        0: (0, 3, 3),
        1: (10, 12, 2),
    }


def test_files_that_workers_have_written_are_committed_as_they_are() -> None:
    bench = Bench()
    file = bench.rows_files.write_file([columns([0, 1])], 0)
    bench.commit(Stretch(0, 0, 2, row_count=2, rows=Pile(files=(file,))))
    assert bench.rows.paths == [file.path]


def test_the_quarantines_ledger_moves_only_by_stretches_that_refused_something() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=1), stretch(1, 0, rejects=1))
    bench.commit(stretch(0, 1, rows=1), stretch(1, 1, rejects=1))
    assert bench.quarantine.ledger is not None
    assert {p: (e.next, e.rejects) for p, e in bench.quarantine.ledger.entries.items()} == {0: (0, 0), 1: (2, 2)}


def test_messages_that_the_quarantine_held_before_count_as_rejects_in_the_tables_ledger_alone() -> None:
    known = KnownAtStart(TOPIC, TOPIC_ID, {0: Entry(0, 5, "c", rows=5)}, {0: Entry(0, 9, "q", rejects=2)})
    bench = Bench(known=known)
    bench.commit(stretch(0, 5, rows=2, refused_before=2))
    assert bench.rows.ledger is not None
    assert bench.quarantine.ledger is not None
    assert (bench.rows.ledger.entries[0].next, bench.rows.ledger.entries[0].rejects) == (9, 2)
    assert (bench.quarantine.ledger.entries[0].next, bench.quarantine.ledger.entries[0].rejects) == (9, 2)


def test_a_commit_builds_on_the_entries_that_the_start_has_read() -> None:
    known = KnownAtStart(TOPIC, TOPIC_ID, {0: Entry(0, 5, "c", rows=5)})
    bench = Bench(known=known)
    bench.rows.ledger = Ledger(TOPIC, TOPIC_ID, {0: Entry(0, 5, "another", rows=5)})
    with pytest.raises(Superseded):
        bench.commit(stretch(0, 5, rows=1))
    assert (bench.rows.version, bench.quarantine.version, bench.published) == (0, 0, [])


def test_what_the_quarantine_got_since_the_start_has_read_it_stops_the_first_commit() -> None:
    bench = Bench(known=KnownAtStart(TOPIC, TOPIC_ID, {}, {0: Entry(0, 9, "read", rejects=1)}))
    bench.quarantine.ledger = Ledger(TOPIC, TOPIC_ID, {0: Entry(0, 9, "an older writer", rejects=2)})
    with pytest.raises(Superseded, match="quarantine"):
        bench.commit(stretch(0, 0, rows=9))
    assert (bench.rows.paths, bench.published) == ([], [])


def test_a_process_that_collected_upon_another_reading_of_the_quarantine_commits_nothing() -> None:
    known = KnownAtStart(TOPIC, TOPIC_ID, {0: Entry(0, 5, "r", rows=5)}, {0: Entry(0, 9, "arrived late", rejects=1)})
    bench = Bench(known=known)
    with pytest.raises(Superseded, match="while the processes of this cluster started"):
        bench.commit(stretch(0, 5, rows=1, reading=f"{TOPIC_ID}/r/q"))
    assert (bench.rows.version, bench.quarantine.version) == (0, 0)
    with pytest.raises(Superseded, match="or the topic changed"):
        Bench(known=known).commit(stretch(0, 5, rows=1, reading="an earlier topic/r/arrived late"))
    bench = Bench(known=known)
    assert bench.commit(stretch(0, 5, rows=1, reading=f"{TOPIC_ID}/r/arrived late"))
    assert bench.commit(stretch(0, 6, rows=1, reading=f"{TOPIC_ID}/r/arrived late")), (
        "the commits in between were its own"
    )


def test_when_rows_are_superseded_after_the_quarantine_landed_nothing_is_published() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0))
    bench.published.clear()
    bench.rows.answers = [first_comes(0, 4)]
    with pytest.raises(Superseded):
        bench.commit(stretch(0, 0, rows=3, rejects=1))
    assert bench.landed(bench.quarantine, bench.reject_files) == [3]
    assert (bench.rows.paths, bench.published) == ([], [])


def test_lost_answers_of_both_tables_are_resolved_in_one_epoch() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0))
    bench.quarantine.answers, bench.rows.answers = [answer_lost], [never_arrived, answer_lost]
    bench.commit(stretch(0, 0, rows=3, rejects=1))
    bench.commit(stretch(0, 4, rows=1))
    assert bench.landed(bench.rows, bench.rows_files) == [0, 1, 2, 4]
    assert bench.landed(bench.quarantine, bench.reject_files) == [3]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(stretch(0, 0, rows=3), next=4),
        replace(stretch(0, 0, rows=3), next=4, row_count=4),
        replace(stretch(0, 0, rows=3, rejects=1), rejects=Pile()),
        replace(stretch(0, 0, rows=3), rows=Pile()),
    ],
)
def test_when_files_and_offsets_disagree_nothing_is_committed(wrong: Stretch) -> None:
    bench = Bench()
    with pytest.raises(NeptuneError, match=r"holds|hold what the offsets say"):
        bench.commit(wrong)
    assert [e for e in bench.events if e != "publish"] == []
    assert bench.published == []


def test_a_commit_past_the_budget_is_written_in_several_files_and_lands_as_one() -> None:
    bench = Bench(budget_bytes=500)
    bench.commit(*(stretch(p, 0, rows=10) for p in range(5)))
    assert len(bench.rows.paths) > 1
    assert len(bench.landed(bench.rows, bench.rows_files)) == 50
    assert bench.rows.version == 2


def test_a_snapshots_summary_says_what_it_brought_and_up_to_when_all_is_complete() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=3, rejects=2, left_out=1, lost=4, late=1, watermark=90 * US))
    assert bench.rows.summaries[-1] == {
        "neptune.rows": "3",
        "neptune.rejects": "2",
        "neptune.late": "1",
        "neptune.left_out": "1",
        "neptune.lost": "4",
        "neptune.watermark-least": "1970-01-01T00:01:30.000000Z",
    }
    assert bench.quarantine.summaries[-1] == {"neptune.rejects": "2"}


def test_each_commit_is_one_line_in_the_log(log: io.StringIO) -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=3, rejects=2), stretch(1, 0, rows=1))
    (line,) = [json.loads(text) for text in log.getvalue().splitlines()]
    facts = {k: line[k] for k in ("event", "rows", "rejects", "partitions", "files", "attempts", "snapshot")}
    assert facts == {
        "event": "committed",
        "rows": 4,
        "rejects": 2,
        "partitions": 2,
        "files": 1,
        "attempts": 1,
        "snapshot": 1002,
    }
    assert all(line[k] >= 0 for k in ("write_ms", "quarantine_ms", "commit_ms"))


def test_a_commit_waits_until_kafka_tells_that_its_topic_is_the_same(log: io.StringIO) -> None:
    silence = [Unavailable("no answer"), Unavailable("no answer")]

    def verify() -> None:
        bench.events.append("verify")
        if silence:
            raise silence.pop()

    bench = Bench(verify=verify)
    assert bench.commit(stretch(0, 0, rows=1)) == [*["verify"] * 3, *FENCES, "land 1 files in rows", "publish"]
    assert log.getvalue().count('"waiting"') == 1


def test_of_another_topic_nothing_lands() -> None:
    def verify() -> None:
        raise LedgerConflict("created anew")

    bench = Bench(verify=verify)
    with pytest.raises(LedgerConflict):
        bench.commit(stretch(0, 0, rows=1))
    assert bench.events == []


def test_the_sink_has_one_partition_for_all_workers() -> None:
    bench = Bench()
    sink = CommitSink(lambda: bench.committer)
    assert sink.list_parts() == ["commit"]
    assert {sink.part_fn(str(key)) for key in range(50)} == {0}
    assert sink.build_part("commit", "commit", None) is bench.committer


def test_rows_arrive_in_the_order_in_which_their_stretches_came() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=2), stretch(0, 2, rows=2))
    (path,) = bench.rows.paths
    assert bench.rows_files.files[path] == [0, 1, 2, 3]
    assert offsets_of(stretch(0, 0, rows=2).rows.tail) == [0, 1]


def test_a_commit_builds_on_what_the_one_before_has_left_without_asking_again() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=1))
    bench.commit(stretch(0, 1, rows=1))
    assert bench.events == ["land 1 files in rows", "publish"]


def test_when_another_writer_came_between_two_commits_one_look_is_all_it_takes(log: io.StringIO) -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=1))
    bench.rows.answers = [first_comes(1, 7)]
    bench.commit(stretch(0, 1, rows=1))
    assert bench.events == ["land 1 files in rows", "look at rows", "land 1 files in rows", "publish"]
    assert "waiting" not in log.getvalue()


def test_after_a_lost_race_the_next_commits_look_first_until_the_others_have_gone() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=1))
    bench.rows.answers = [first_comes(1, 7)]
    bench.commit(stretch(0, 1, rows=1))
    looks = []
    for number in range(CROWDED_COMMITS + 1):
        bench.commit(stretch(0, 2 + number, rows=1))
        looks.append(bench.events.count("look at rows"))
    assert looks == [1] * CROWDED_COMMITS + [0]


def test_races_are_told_by_their_number_alone(log: io.StringIO) -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=1))
    bench.rows.answers = [first_comes(partition, 7) for partition in (1, 2, 3)]
    bench.commit(stretch(0, 1, rows=1))
    assert "waiting" not in log.getvalue()
    assert json.loads(log.getvalue().splitlines()[-1])["lost_races"] == 3


def test_after_a_lost_answer_the_next_commit_builds_on_what_was_found() -> None:
    bench = Bench()
    bench.commit(stretch(0, 0, rows=1))
    bench.rows.answers = [answer_lost]
    bench.commit(stretch(0, 1, rows=1))
    bench.commit(stretch(0, 2, rows=1))
    assert bench.landed(bench.rows, bench.rows_files) == [0, 1, 2]
