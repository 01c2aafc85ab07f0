"""The start: wait for Kafka, object storage and catalog, make what is missing, and read where the table is.

    Kafka, topic ─► storage, bucket ─► catalog, namespace, tables ─► ledgers ─► Landing

Each service is waited for within NEPTUNE_START_WAIT_S_MAX, with a log line for each try. What the two ledgers say is read once, here; every
later decision (where a partition begins, whether restored state joins, what a commit builds on) uses this one reading, so that they cannot
disagree. If the tables move meanwhile, the commit's pin notices. The processes of a cluster read them each for itself: what each was told of a
partition travels with its messages (`reading`), and who was told something else stops all.

A group decides once. Where a topic begins (NEPTUNE_START_FROM) is asked of Kafka at the first start, and later partitions begin at their first
message. A process that lands all of a topic writes all its partitions into the ledger in its first commit. The processes of a group (`group`) each
land some: so the first of them lands a ledger that names all, before it joins, and the others read it. Two that do so at once
are told apart by the catalog, as in any commit; the one that is refused goes on with what the other has written.

Whether to begin at all. A ledger of another topic, or of an earlier one of this name, is not gone on with. Nor are two ledgers that
contradict each other (`ledger.contradictions`), nor a quarantine that holds more verdicts than its ledger has landed: going on would
lose or double messages in silence. The error names the command that lands a ledger by hand (`mend`). A table that was restored
from a backup with the ledger that belongs to it is no such case: what it lacks is read again, and what the quarantine holds of that stands.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from neptune_flow.collect import STATE_FORMAT, Resume
from neptune_flow.contract import Contract, load_contract
from neptune_flow.errors import LedgerConflict, Superseded, Unavailable
from neptune_flow.iceberg import Lake, LakeTable, TableLook, TableReader
from neptune_flow.kafka import KafkaAddress, ReadFrom, Topic, find_topic, start_offsets
from neptune_flow.kafka.source import Position
from neptune_flow.landing import land, new_commit_id
from neptune_flow.ledger import Contradiction, Ledger, contradictions, reading_of
from neptune_flow.patience import Patience
from neptune_flow.process import Lifecycle
from neptune_flow.protocol import Claim, Offer
from neptune_flow.records import DataFile, Stretch
from neptune_flow.settings import Settings
from neptune_flow.sink import KnownAtStart
from neptune_flow.telemetry import get_logger
from neptune_flow.validation import Validator
from neptune_flow.vitals import CATALOG, KAFKA, STORAGE, Phase, Vitals

log = get_logger("neptune.start")

QUARANTINE_DAY = "day"
"""The quarantine table's partition: the day of Kafka's timestamp."""

START_FROM_KEY = "neptune.start-from"
"""In the summary of a snapshot whose ledger says where a group begins: what NEPTUNE_START_FROM was."""


class PatientFiles:
    """A table's storage that waits out an outage; what a spool writes to."""

    def __init__(self, table: LakeTable, patience: Patience, vitals: Vitals | None = None) -> None:
        self._table = table
        self._patience = patience
        self._vitals = vitals or Vitals()

    def write_file(self, batches: Sequence[pa.RecordBatch], day: int) -> DataFile:
        with self._vitals.spending("spool"):
            return self._patience.call(STORAGE, lambda: self._table.write_file(batches, day))


@dataclass(frozen=True)
class Landing:
    """The outside worlds of one process, open, and what the ledgers said."""

    topic: Topic
    partitions: Sequence[int]
    """Those of the topic's partitions that this process lands."""
    rows_table: LakeTable
    quarantine: LakeTable
    bound_to: str
    rows_ledger: Ledger
    rejects_ledger: Ledger
    start_offsets: Mapping[int, int]
    """Where partitions begin that the rows' ledger does not know."""
    refused_before: Mapping[int, Collection[int]]
    """Per partition, the offsets that the quarantine holds at or above the rows' ledger."""
    committed_at_s: float | None = None
    """When the rows' ledger moved last, seconds since 1970-01-01."""

    def resume(self, partition: int) -> Resume:
        """What the tables say of a partition."""
        entry = self.rows_ledger.entries.get(partition)
        return Resume(self.bound_to, entry, partition in self.refused_before, self._reading(partition))

    def read_from(self, partition: int, position: Position | None) -> ReadFrom:
        """Where a partition's reading begins: at the ledger's number, or further where the recovery store can join it."""
        entry = self.rows_ledger.entries.get(partition)
        first = self.start_offsets[partition] if entry is None else entry.next
        # An entry that the quarantine does not know is a beginning of which nobody has taken anything.
        is_start = partition not in self.rejects_ledger.entries and (entry is None or entry.next == entry.first)
        joins = position is not None and position.bound_to == self.bound_to
        if position is not None and joins and entry is not None and partition not in self.refused_before:
            first = max(first, position.next)
        return ReadFrom(partition, first, is_start, self.refused_before.get(partition, ()), self._reading(partition))

    def _reading(self, partition: int) -> str:
        rows, rejects = self.rows_ledger.entries.get(partition), self.rejects_ledger.entries.get(partition)
        return reading_of(self.topic.id, rows, rejects)

    def known(self) -> KnownAtStart:
        """What the committer builds on."""
        return KnownAtStart(
            self.topic.name,
            self.topic.id,
            self.rows_ledger.entries,
            self.rejects_ledger.entries,
        )


class Tables(NamedTuple):
    """The two tables of one process, open."""

    rows: LakeTable
    quarantine: LakeTable


class Start:
    """Opens the Landing of this process, or of one round of a group's member, once, at the first call from any worker."""

    def __init__(
        self,
        settings: Settings,
        contract: Contract,
        validator: Validator,
        address: KafkaAddress,
        lifecycle: Lifecycle,
        vitals: Vitals | None = None,
    ) -> None:
        self._partitions: Sequence[int] | None = None
        self._opened: Tables | None = None
        self._vitals = vitals or Vitals()
        self._settings = settings
        self.contract = contract
        self.validator = validator
        self.address = address
        self._lifecycle = lifecycle
        self._patience = Patience(settings.start_wait_s_max, lifecycle.stopping, vitals=self._vitals)
        self._lock = threading.Lock()
        self._landing: Landing | None = None

    @classmethod
    def of(cls, settings: Settings, lifecycle: Lifecycle) -> Start:
        """The start that the settings describe; asks nobody.

        Raises:
            ContractError: the contract cannot be loaded or cannot become a table.
        """
        contract = load_contract(settings.contract)
        validator = Validator.of(settings, contract)
        return cls(settings, contract, validator, KafkaAddress.of(settings.kafka), lifecycle, lifecycle.vitals)

    def prepare(self) -> None:
        """Open what the rounds of a group's member have in common, and see to it that the ledger says where the topic's partitions begin.

        Raises as a call does.
        """
        self._partitions = ()
        self._open()

    def of_round(self, partitions: Sequence[int], ending: threading.Event) -> Start:
        """The start of one round over these partitions, after `prepare`; a process that is running sits an outage out, until the round is to end."""
        this = Start(self._settings, self.contract, self.validator, self.address, self._lifecycle, self._vitals)
        this._partitions = partitions
        this._opened = self._opened
        this._patience = Patience(self._settings.retry_s_max, ending, denied_too=True, vitals=self._vitals)
        return this

    def __call__(self) -> Landing:
        """The open worlds.

        Raises:
            Unavailable, AccessDenied: a service stayed away, or refuses the credentials.
            TableMismatch: a table that exists does not fit the contract.
            LedgerConflict: topic and table tell different stories.
            StopRequested: a signal came meanwhile.
        """
        self._lifecycle.nothing_to_drain = False
        with self._lock:
            if self._landing is None:
                self._landing = self._open()
                self._tell(self._landing)
                self._vitals.enter(Phase.RUNNING)
            return self._landing

    def _open(self) -> Landing:
        topic = self._patience.call(KAFKA, lambda: find_topic(self.address))
        self._opened = tables = self._opened or self._open_tables()
        landing = self._patience.call(CATALOG, lambda: self._read(topic, *tables))
        if self._partitions is not None and not landing.rows_ledger.entries:
            self._begin(landing)
            landing = self._patience.call(CATALOG, lambda: self._read(topic, *tables))
        return landing

    def _open_tables(self) -> Tables:
        lake, settings = self._open_lake(), self._settings
        return Tables(
            self._table(lake, settings.catalog.table, self.validator.rows_schema, self.contract.event_date),
            self._table(lake, settings.quarantine_table, self.validator.rejects_schema, QUARANTINE_DAY),
        )

    def _open_lake(self) -> Lake:
        settings = self._settings
        lake = self._patience.call(CATALOG, lambda: Lake.of(settings))
        bucket = settings.storage.bucket if settings.storage else None
        if bucket is not None:
            self._patience.call(STORAGE, lambda: _check_bucket(lake, bucket))
        return lake

    def _table(self, lake: Lake, name: str, schema: pa.Schema, day_column: str) -> LakeTable:
        settings = self._settings
        return self._patience.call(
            CATALOG,
            lambda: lake.ensure_table(
                settings.catalog.namespace,
                name,
                schema,
                day_column=day_column,
                location=settings.table_location(name),
                snapshots_max=settings.snapshots_max,
            ),
        )

    def _read(self, topic: Topic, rows_table: LakeTable, quarantine: LakeTable) -> Landing:
        # Rows first: a verdict that lands in quarantine after this reading has changed an entry, which stops this process.
        partitions = topic.partitions if self._partitions is None else self._partitions
        look = rows_table.look()
        rows = own_ledger(rows_table.name, look.ledger, topic)
        quarantine_look = quarantine.look()
        try:
            rejects = own_ledger(
                quarantine.name, quarantine_look.ledger, topic, "ledger" if rows.entries else "earliest"
            )
            check_agreement(rows_table.name, rows, rejects)
            refused_before = verdicts_ahead(quarantine, quarantine_look, rows, rejects, partitions)
        except LedgerConflict:
            if rows_table.look().head == look.head:
                raise
            # What looks like a contradiction may be a commit that fell between the two readings.
            raise Unavailable(f"{rows_table.name} has moved while the ledgers were read") from None
        unknown = [p for p in partitions if p not in rows.entries]
        # A partition that comes later begins at its first message, whatever the first start was told.
        start_from: str | datetime = self._settings.kafka.start_from if not rows.entries else "earliest"
        return Landing(
            topic=topic,
            partitions=partitions,
            rows_table=rows_table,
            quarantine=quarantine,
            bound_to=self._bound_to((rows.began_after, rows.cuts), look, quarantine_look),
            rows_ledger=rows,
            rejects_ledger=rejects,
            start_offsets=start_offsets(self.address, unknown, start_from) if unknown else {},
            refused_before=refused_before,
            committed_at_s=look.committed_at_s,
        )

    def _begin(self, landing: Landing) -> None:
        """Land a ledger that says where each of the topic's partitions begins; if another process has done so meanwhile, its ledger counts."""
        topic, start_from = landing.topic, self._settings.kafka.start_from
        offsets = self._patience.call(KAFKA, lambda: start_offsets(self.address, topic.partitions, start_from))
        commit = new_commit_id()
        try:
            land(
                landing.rows_table,
                Offer(commit, topic.name, topic.id, tuple(Claim(p, None, None) for p in offsets)),
                (),
                lambda ledger: ledger.advance((Stretch(p, o, o) for p, o in offsets.items()), commit),
                lambda _ledger: {START_FROM_KEY: str(start_from)},
                self._patience,
            )
        except Superseded:
            return
        log.info("group_begins", topic=topic.name, start_from=str(start_from), offsets=dict(sorted(offsets.items())))

    def _tell(self, landing: Landing) -> None:
        rows = landing.rows_ledger
        # In a group the others' partitions are the others' to tell of.
        entries = {p: rows.entries[p] for p in landing.partitions if p in rows.entries}
        self._vitals.knows(entries, rows.watermark_least, landing.committed_at_s)
        log.info(
            "started",
            topic=landing.topic.name,
            partitions=len(landing.partitions),
            new_partitions=len(landing.start_offsets),
            table=landing.rows_table.name,
            contract=self.contract.name,
            ledger={p: e.next for p, e in entries.items()},
        )

    def _bound_to(self, log_marks: object, *looks: TableLook) -> str:
        """What rows on their way are made for: these tables with these columns, and one log of the topic. Others cannot be committed."""
        tables = [(str(look.table.metadata.table_uuid), look.table.metadata.current_schema_id) for look in looks]
        columns = [str(self.validator.rows_schema), str(self.validator.rejects_schema)]
        return hashlib.sha256(repr((STATE_FORMAT, log_marks, tables, columns)).encode()).hexdigest()[:16]


def _check_bucket(lake: Lake, bucket: str) -> None:
    lake.ensure_bucket(bucket)
    lake.check_storage(f"s3://{bucket}")


def own_ledger(table: str, ledger: Ledger | None, topic: Topic, mend_from: str = "earliest") -> Ledger:
    """The ledger of this topic, empty where the table has none.

    Args:
        table: the table's full name, for the messages.
        ledger: the one that holds there.
        topic: as Kafka has it now.
        mend_from: from where the hint lets a new topic begin.

    Raises:
        LedgerConflict: the table holds another topic, or an earlier one of this name.
    """
    if ledger is None:
        return Ledger(topic.name, topic.id)
    if ledger.topic != topic.name:
        raise LedgerConflict(
            f"table {table} holds topic {ledger.topic}, not {topic.name}",
            hint="land each topic in a table of its own (ICEBERG_TABLE), or correct KAFKA_TOPIC",
        )
    if ledger.topic_id is None:
        return replace(ledger, topic_id=topic.id)
    if topic.id and ledger.topic_id != topic.id:
        raise LedgerConflict(
            f"topic {topic.name} was deleted and created anew since table {table} took its messages",
            detail=f"topic id then {ledger.topic_id}, now {topic.id}",
            hint="land the new topic in a table of its own (ICEBERG_TABLE); "
            f"or go on in this one with the new topic: python -m neptune_flow ledger set --from {mend_from}",
        )
    return ledger


def check_agreement(rows_table: str, rows: Ledger, rejects: Ledger) -> None:
    """Compare the two ledgers, the rows' read first.

    Raises:
        LedgerConflict: they contradict each other.
    """
    found = list(contradictions(rows, rejects))
    if found:
        raise _contradiction(rows_table, found)


def _contradiction(rows_table: str, found: Sequence[Contradiction]) -> LedgerConflict:
    is_quarantine_behind = any(c.is_quarantine_behind for c in found)
    behind = "its quarantine" if is_quarantine_behind else "it"
    source = "ledger" if is_quarantine_behind else "rows"
    return LedgerConflict(
        f"table {rows_table} and its quarantine do not belong together: {found[0].says}",
        detail=f"{behind} was dropped, rolled back or restored" + (f" ({len(found)} findings)" if found[1:] else ""),
        hint=f"bring {behind} back; or look with `python -m neptune_flow ledger show`, and go on with what is there: "
        f"python -m neptune_flow ledger set --from {source}",
    )


def verdicts_ahead(
    quarantine: TableReader, look: TableLook, rows: Ledger, rejects: Ledger, partitions: Collection[int] | None = None
) -> dict[int, Collection[int]]:
    """The verdicts that stand, of these partitions or of all: a crash fell between the quarantine's commit and the rows', or the rows went back.

    Raises:
        LedgerConflict: they are more than the quarantine's ledger has landed.
    """
    ahead: dict[int, Collection[int]] = {}
    for partition, entry in rejects.entries.items():
        if partitions is not None and partition not in partitions:
            continue
        ours = rows.entries[partition]
        if entry.next > ours.next:
            held = quarantine.offsets_between(partition, ours.next, entry.next, look)
            log.info("quarantine_ahead", partition=partition, first=ours.next, next=entry.next, held=len(held))
            if len(held) > entry.rejects - ours.rejects:
                raise LedgerConflict(
                    f"{quarantine.name}, partition {partition}: {len(held)} rejects at or above offset {ours.next}, "
                    f"where its ledger has landed {entry.rejects - ours.rejects}",
                    detail="rejects were added, or those of an earlier topic were rewritten, by another program",
                    hint="look with `python -m neptune_flow ledger show`; to go on: python -m neptune_flow ledger set --from ledger",
                )
            ahead[partition] = held
    return ahead
