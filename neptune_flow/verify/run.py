"""One verification from its first look to its report.

    look at rows, then quarantine ─► read both, file by file ─► judge ─► ask Kafka for what is missing ─► Report

**While Neptune runs.** One look at each table is all that is judged, so nothing that lands meanwhile disturbs. The rows are looked at first.
A commit lands its rejects before its rows, so the quarantine of the later look holds every reject that the rows' ledger has passed; what
it holds beyond is above the rows' ledger, and below its own. In the other order a commit between the looks would seem lost. Between the looks a
new partition may land its first rejects, and a person may set both ledgers: where the two contradict each other, both are looked at once more.
Kafka is asked last: its log's end is never behind a ledger that was read before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from neptune_flow.errors import AccessDenied, LedgerConflict, Unavailable
from neptune_flow.iceberg import TableReader
from neptune_flow.iceberg.audit import Audit, open_audit
from neptune_flow.kafka import find_topic
from neptune_flow.ledger import Ledger, contradictions
from neptune_flow.verify.against_kafka import Answer, ask
from neptune_flow.verify.judge import (
    Held,
    Scope,
    judge_files,
    judge_partition,
    judge_totals,
    missing_of,
    partition_report,
)
from neptune_flow.verify.past import deletions, judge_past
from neptune_flow.verify.report import Fault, Kind, PartitionReport, Report, TableReport
from neptune_flow.verify.tables import REJECTS_COLUMNS, ROWS_COLUMNS, TableMoved, Tally, read_table
from neptune_flow.verify.task import Task

LOOKS_MAX = 3
"""So often all begins again because the tables were rewritten while they were read."""


class Watcher(Protocol):
    """Who is told how far it is."""

    def begin(self, what: str, rows: int | None) -> None:
        """Something else is being done now; `rows` of it, where that is known."""

    def advance(self, rows: int) -> None:
        """So many rows more are done."""


def verify(task: Task, watcher: Watcher) -> Report:
    """Look, read, judge.

    Raises:
        NeptuneError: it could not be looked: a service is away or refuses, a table is gone or cannot be read by any means here.
    """
    for _ in range(LOOKS_MAX):
        try:
            return _Run(task, watcher).report()
        except TableMoved as moved:
            table = moved.args[0]
    raise Unavailable(
        f"table {table} was rewritten while it was being read, {LOOKS_MAX} times",
        hint="run it again when no compaction runs, or with --since or --day",
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """One table at one moment."""

    reader: TableReader
    audit: Audit
    ledger: Ledger | None
    conflict: LedgerConflict | None


class _Run:
    """What has been found so far."""

    def __init__(self, task: Task, watcher: Watcher) -> None:
        self._task = task
        self._watcher = watcher
        self._faults: list[Fault] = []
        self._notes: list[str] = []

    def report(self) -> Report:
        task = self._task
        looks = self._look()
        audit = looks[0].audit
        has_offsets = task.has_offsets and audit.has_columns(ROWS_COLUMNS)
        scope = Scope(is_part=task.days is not None, has_offsets=has_offsets, deletions=deletions(audit.line))
        rows = self._read(looks[0], ROWS_COLUMNS if has_offsets else ())
        if len(looks) > 1:
            rejects = self._read(looks[1], REJECTS_COLUMNS)
        else:
            rejects = Held("quarantine", None, Tally())
            self._notes.append("there is no quarantine table")
        for look, held in zip(looks, (rows, rejects), strict=False):
            self._judge_table(look, held)
        self._faults += self._contradictions(looks)
        if not has_offsets:
            self._notes.append(
                "rows do not carry their offsets and are only counted: twins cannot be told, nor which are lost"
            )
            self._faults += () if scope.is_part else judge_totals(rows)
        answers = self._ask_kafka(rows, rejects) if has_offsets and not scope.is_part else {}
        partitions = self._judge_partitions(rows, rejects, scope, answers)
        return Report(
            topic=(rows.ledger.topic if rows.ledger else task.topic),
            tables=tuple(_table_report(look, held) for look, held in zip(looks, (rows, rejects), strict=False)),
            partitions=tuple(partitions),
            faults=tuple(self._faults),
            notes=tuple(self._notes),
            is_part=scope.is_part,
        )

    # Looking and reading

    def _look(self) -> list[_Look]:
        """Both tables, the rows first; see the module's head."""
        looks: list[_Look] = []
        for _ in range(2):
            looks = [self._look_at(reader) for reader in (self._task.rows, self._task.rejects) if reader is not None]
            if not list(self._contradictions(looks)):
                break
        return looks

    def _look_at(self, reader: TableReader) -> _Look:
        audit = open_audit(reader)
        try:
            return _Look(reader, audit, audit.history().ledger, None)
        except LedgerConflict as conflict:
            return _Look(reader, audit, None, conflict)

    def _read(self, look: _Look, columns: Sequence[str]) -> Held:
        task, ledger = self._task, look.ledger
        self._watcher.begin(f"reading {look.reader.name}", None if task.days else look.audit.rows_claimed)
        tally = read_table(
            look.reader,
            look.audit,
            columns,
            ledger or Ledger(task.topic, None),
            days=task.days,
            patience=task.patience,
            advance=self._watcher.advance,
        )
        return Held(look.reader.name, ledger, tally)

    # Judging

    def _judge_table(self, look: _Look, held: Held) -> None:
        name, ledger = held.name, held.ledger
        if look.conflict is not None:
            what = ": ".join(filter(None, (look.conflict.primary, look.conflict.detail)))
            self._faults.append(Fault(Kind.STRANGE, name, what, hint=look.conflict.hint))
        elif ledger is None and held.tally.rows:
            what = f"holds {held.tally.rows:,} rows and has never had a ledger"
            self._faults.append(Fault(Kind.STRANGE, name, what))
        elif ledger is not None and ledger.topic != self._task.topic:
            what = f"holds topic {ledger.topic}, not {self._task.topic}"
            self._faults.append(Fault(Kind.STRANGE, name, what, hint="correct KAFKA_TOPIC or ICEBERG_TABLE"))
        if held.tally.rows_of_earlier_log:
            earlier = f"{held.tally.rows_of_earlier_log:,} rows of an earlier topic, or of the log before it was cut"
            self._notes.append(f"{name} holds {earlier}; they are not judged")
        self._faults += judge_files(held)
        self._faults += judge_past(name, look.audit.line)

    def _contradictions(self, looks: Sequence[_Look]) -> Iterator[Fault]:
        rows, *others = (look.ledger for look in looks)
        if any(look.conflict for look in looks):
            return
        for rejects in others:
            known = rows or rejects
            if known is not None:
                none = replace(known, entries={})
                for found in contradictions(rows or none, rejects or none):
                    hint = "python -m neptune_flow ledger show, then python -m neptune_flow ledger set"
                    yield Fault(Kind.STRANGE, looks[0].reader.name, found.says, hint=hint)

    def _judge_partitions(
        self, rows: Held, rejects: Held, scope: Scope, answers: Mapping[int, Answer]
    ) -> Iterator[PartitionReport]:
        known = set(rows.ledger.entries) if rows.ledger else set()
        for partition in sorted({*known, *rows.tally.partitions, *rejects.tally.partitions}):
            answer = answers.get(partition)
            faults = list(judge_partition(partition, rows, rejects, scope, answer.delivered if answer else None))
            self._faults += faults
            yield partition_report(partition, rows, rejects, scope, len(faults))

    # Kafka

    def _ask_kafka(self, rows: Held, rejects: Held) -> Mapping[int, Answer]:
        task = self._task
        if task.kafka is None or rows.ledger is None or rows.ledger.topic != task.topic:
            self._notes.append("Kafka was not asked: judged from the tables alone")
            return {}
        address, ledger = task.kafka, rows.ledger
        self._watcher.begin("asking Kafka", None)
        try:
            topic = find_topic(address)
            if ledger.topic_id and topic.id and ledger.topic_id != topic.id:
                what = f"the topic was created anew: its id was {ledger.topic_id}, it is {topic.id}"
                self._faults.append(Fault(Kind.STRANGE, rows.name, what))
                return {}
            entries = {p: e for p, e in ledger.entries.items() if p in topic.partitions}
            missing = {p: missing_of(p, e, rows, rejects) for p, e in entries.items()}
            answers = ask(address, missing, task.kafka_messages_max)
        except (Unavailable, AccessDenied) as error:
            if task.needs_kafka:
                raise
            self._notes.append(f"judged from the tables alone, since Kafka could not be asked: {error.primary}")
            return {}
        self._judge_log(rows.name, ledger, answers)
        self._note_answers(answers)
        return answers

    def _judge_log(self, table: str, ledger: Ledger, answers: Mapping[int, Answer]) -> None:
        for partition, entry in ledger.entries.items():
            answer = answers.get(partition)
            if answer is None:
                self._faults.append(Fault(Kind.STRANGE, table, "the topic has no such partition", partition))
            elif answer.log_end < entry.next:
                what = f"the ledger is at offset {entry.next}, Kafka's log ends at {answer.log_end}"
                self._faults.append(Fault(Kind.STRANGE, table, what, partition))

    def _note_answers(self, answers: Mapping[int, Answer]) -> None:
        asked, gone, not_asked = (
            sum(getattr(answer, name) for answer in answers.values()) for name in ("asked", "gone", "not_asked")
        )
        delivered = sum(len(answer.delivered) for answer in answers.values())
        self._notes.append(
            f"of the offsets that no table holds, Kafka was asked about {asked:,} and delivers {delivered:,}"
            + ("; those that no fault names were given up by `python -m neptune_flow ledger set`" if delivered else "")
            + (f"; {gone:,} are older than its log" if gone else "")
            + (f"; {not_asked:,} were not asked, see --kafka-messages-max" if not_asked else "")
        )


def _table_report(look: _Look, held: Held) -> TableReport:
    tally = held.tally
    return TableReport(held.name, look.audit.snapshot_id, tally.files, tally.rows, tally.rows_of_earlier_log)
