"""The committing shell: one sink partition that lands, at the end of each Bytewax epoch, what the collectors have emitted in it.

    Stretch ─► Committer.write_batch: gathers piles (spooled past a limit)
               Committer.snapshot:    1 the tails become data files, one for each day and table
                                        and Kafka tells that the topic is still the same, or the commit waits
                                      2 fence both tables, at a partition's first commit ┐ each driven by
                                      3 quarantine: land the rejects                     │ `protocol.decide` until landed,
                                      4 table:      land the rows                        ┘ or the process stops
                                      5 the group's offsets are published
                                      6 one log line

Why here. Bytewax calls `snapshot` when an epoch closes: after every item of the epoch, from all workers, and before any of the next. It
calls it only if items came, and it does so without a recovery store too. `close` is called after a failure as well, so nothing is committed
there.

Why the quarantine goes first. The table's ledger must never pass a reject that is not in quarantine. If the process ends between 3
and 4, the quarantine is ahead of the table: the next start reads which offsets it holds there, and takes those messages as refused
already (`start`), whatever the contract says by then.

Delivery guarantee: exactly once. One partition, since several committers on one table would only race each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from neptune_flow.errors import NeptuneError
from neptune_flow.landing import Landed, TableLike, land, new_commit_id
from neptune_flow.ledger import Entry, Ledger, reading_of, readings_differ
from neptune_flow.patience import Patience
from neptune_flow.protocol import Claim, Look, Offer
from neptune_flow.records import Pile, Stretch
from neptune_flow.spool import Spool
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import KAFKA, CommitFacts, Vitals

log = get_logger("neptune.commit")


MOSTLY_REFUSED_MIN = 10
"""A commit with more rejects than rows is worth a warning, if there are more than a few."""

CROWDED_COMMITS = 10
"""After a lost race others are expected to write, too, for so many commits: the table is looked at first, since an attempt upon what the last
commit has left would be in vain, and costs much more."""


@dataclass(frozen=True, slots=True)
class KnownAtStart:
    """The ledgers' entries when this process began, per Kafka partition; absent where there was none."""

    topic: str
    topic_id: str | None
    rows: Mapping[int, Entry] = field(default_factory=dict)
    rejects: Mapping[int, Entry] = field(default_factory=dict)


class Committer(StatefulSinkPartition[Stretch, None]):
    """Gathers the stretches of an epoch and lands them when it closes."""

    def __init__(
        self,
        rows_table: TableLike,
        quarantine: TableLike,
        rows: Spool,
        rejects: Spool,
        known: KnownAtStart,
        patience: Patience,
        publish: Callable[[Mapping[int, int]], None],
        *,
        verify: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
        vitals: Vitals | None = None,
        tracing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """See the module's head; `verify` may object before a commit, or find Kafka away; `publish` gets the next offsets after it.

        Each commit is done within `tracing()`.
        """
        self._rows_table = rows_table
        self._quarantine = quarantine
        self._rows = rows
        self._rejects = rejects
        self._topic, self._topic_id = known.topic, known.topic_id
        self._rows_known = dict(known.rows)
        self._rejects_known = dict(known.rejects)
        self._fenced: set[int] = set()
        self._rows_look: Look | None = None
        self._rejects_look: Look | None = None
        self._crowded = 0
        self._patience = patience
        self._publish = publish
        self._verify = verify
        self._close = close
        self._vitals = vitals or Vitals()
        self._vitals.commits_here = True
        self._tracing = tracing
        self._stretches: list[Stretch] = []

    def write_batch(self, values: list[Stretch]) -> None:
        if values and self._vitals.gathered_since_s is None:
            self._vitals.gathered_since_s = time.time()
        for stretch in values:
            self._rows.add_pile(stretch.rows)
            self._rejects.add_pile(stretch.rejects)
            self._stretches.append(_without_piles(stretch))

    def snapshot(self) -> None:
        if self._stretches:
            with self._tracing():
                self._commit()
            self._stretches = []

    def close(self) -> None:
        self._close()

    def _commit(self) -> None:
        began_s = time.time()
        stretches = self._stretches
        self._rows.flush()
        self._rejects.flush()
        rows, rejects = self._rows.take(), self._rejects.take()
        _check(stretches, rows, rejects)
        self._patience.call(KAFKA, self._verify)
        written_s = time.time()
        firsts = [s for s in _firsts(stretches) if s.partition not in self._fenced]
        self._check_reading(firsts)
        unfenced = [_fence(s) for s in firsts]
        if unfenced:
            self._land_rows(unfenced, Pile())
        refusing = [*unfenced, *(s for s in stretches if s.reject_count)]
        quarantined = self._land_rejects(refusing, rejects) if refusing else None
        self._fenced.update(s.partition for s in unfenced)
        quarantined_s = time.time()
        landed = self._land_rows(stretches, rows)
        facts = CommitFacts(
            began_s,
            written_s,
            quarantined_s,
            time.time(),
            snapshot=landed.snapshot_id,
            quarantine_snapshot=quarantined.snapshot_id if quarantined else None,
            ranges={s.partition: (s.first, self._rows_known[s.partition].next) for s in _firsts(stretches)},
            **_totals(stretches),
            files=len(rows.files),
            file_bytes=sum(f.file_size_bytes for f in rows.files),
            reject_files=len(rejects.files),
            reject_file_bytes=sum(f.file_size_bytes for f in rejects.files),
            watermark_least=landed.ledger.watermark_least,
            attempts=landed.attempts,
            lost_races=landed.lost_races + (quarantined.lost_races if quarantined else 0),
            unknown=landed.unknown + (quarantined.unknown if quarantined else 0),
        )
        self._crowded = CROWDED_COMMITS if facts.lost_races else max(0, self._crowded - 1)
        self._publish({p: next_offset for p, (_, next_offset) in facts.ranges.items()})
        self._vitals.has_committed(facts)
        _log_commit(facts)

    def _check_reading(self, firsts: Sequence[Stretch]) -> None:
        """Whether this process and the one that collected were told the same at their start.

        Raises:
            Superseded: a commit of an earlier process arrived between their readings, or the topic was created anew.
        """
        for first in firsts:
            p = first.partition
            if first.reading not in (
                None,
                reading_of(self._topic_id, self._rows_known.get(p), self._rejects_known.get(p)),
            ):
                raise readings_differ(p)

    def _land_rejects(self, stretches: Sequence[Stretch], rejects: Pile) -> Landed:
        commit = new_commit_id()
        partitions = sorted({s.partition for s in stretches})
        claims = _claims(partitions, self._rejects_known)
        landed = land(
            self._quarantine,
            Offer(commit, self._topic, self._topic_id, claims),
            rejects.files,
            lambda ledger: ledger.advance_rejects(stretches, commit),
            lambda _ledger: {"neptune.rejects": str(rejects.rows)},
            self._patience,
            None if self._crowded else self._rejects_look,
        )
        self._rejects_look = landed.after
        self._rejects_known.update((p, landed.ledger.entries[p]) for p in partitions)
        return landed

    def _land_rows(self, stretches: Sequence[Stretch], rows: Pile) -> Landed:
        commit = new_commit_id()
        partitions = sorted({s.partition for s in stretches})
        claims = _claims(partitions, self._rows_known)
        landed = land(
            self._rows_table,
            Offer(commit, self._topic, self._topic_id, claims),
            rows.files,
            lambda ledger: ledger.advance(stretches, commit),
            lambda ledger: _summary(stretches, ledger),
            self._patience,
            None if self._crowded else self._rows_look,
        )
        self._rows_look = landed.after
        self._rows_known.update((p, landed.ledger.entries[p]) for p in partitions)
        return landed


class CommitSink(FixedPartitionedSink[Stretch, None]):
    """The Bytewax sink with its one partition; all stretches go there, from every worker."""

    PARTITION = "commit"

    def __init__(self, build: Callable[[], Committer]) -> None:
        """`build` makes the committer on the worker that gets the partition."""
        self._build = build

    def list_parts(self) -> list[str]:
        return [self.PARTITION]

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Committer:
        return self._build()


def _claims(partitions: Sequence[int], known: Mapping[int, Entry]) -> tuple[Claim, ...]:
    entries = ((p, known.get(p)) for p in partitions)
    return tuple(Claim(p, e.next if e else None, e.commit if e else None) for p, e in entries)


def _firsts(stretches: Sequence[Stretch]) -> list[Stretch]:
    """The first stretch of each partition."""
    firsts: dict[int, Stretch] = {}
    for stretch in stretches:
        firsts.setdefault(stretch.partition, stretch)
    return list(firsts.values())


def _fence(stretch: Stretch) -> Stretch:
    """Takes nothing, but writes this process's id into the ledger where the stretch begins."""
    return Stretch(stretch.partition, stretch.first, stretch.first)


def _without_piles(stretch: Stretch) -> Stretch:
    return replace(stretch, rows=Pile(), rejects=Pile())


def _check(stretches: Sequence[Stretch], rows: Pile, rejects: Pile) -> None:
    """What is in the files is what the offsets say, or nothing is committed."""
    for s in stretches:
        accounted = s.row_count + s.reject_count + s.refused_before + s.left_out + s.lost
        if s.next - s.first != accounted:
            raise NeptuneError(f"partition {s.partition}: [{s.first}, {s.next}) holds {accounted} messages")
    row_count, reject_count = sum(s.row_count for s in stretches), sum(s.reject_count for s in stretches)
    if (rows.rows, rejects.rows) != (row_count, reject_count):
        raise NeptuneError(
            "the data files do not hold what the offsets say",
            detail=f"rows {rows.rows} of {row_count}, rejects {rejects.rows} of {reject_count}; nothing was committed",
        )


def _totals(stretches: Sequence[Stretch]) -> dict[str, int]:
    return {
        "rows": sum(s.row_count for s in stretches),
        "rejects": sum(s.reject_count + s.refused_before for s in stretches),
        "late": sum(s.late for s in stretches),
        "left_out": sum(s.left_out for s in stretches),
        "lost": sum(s.lost for s in stretches),
    }


def _log_commit(facts: CommitFacts) -> None:
    log.info(
        "committed",
        snapshot=facts.snapshot,
        rows=facts.rows,
        rejects=facts.rejects,
        late=facts.late,
        left_out=facts.left_out,
        lost=facts.lost,
        partitions=len(facts.ranges),
        files=facts.files,
        file_bytes=facts.file_bytes,
        watermark_least=_iso(facts.watermark_least),
        attempts=facts.attempts,
        lost_races=facts.lost_races,
        unknown=facts.unknown,
        write_ms=_ms(facts.began_s, facts.written_s),
        quarantine_ms=_ms(facts.written_s, facts.quarantined_s),
        commit_ms=_ms(facts.quarantined_s, facts.landed_s),
    )
    if facts.rejects > max(facts.rows, MOSTLY_REFUSED_MIN):
        log.warning(
            "mostly_refused",
            rows=facts.rows,
            rejects=facts.rejects,
            hint="see `reasons` in the quarantine table; if all are event_time_in_future, this machine's clock may be behind",
        )


def _summary(stretches: Sequence[Stretch], ledger: Ledger) -> dict[str, str]:
    summary = {f"neptune.{name}": str(count) for name, count in _totals(stretches).items()}
    if ledger.watermark_least is not None:
        summary["neptune.watermark-least"] = _iso(ledger.watermark_least) or ""
    return summary


def _iso(time_us: int | None) -> str | None:
    return None if time_us is None else f"{np.datetime64(time_us, 'us')}Z"


def _ms(begin_s: float, end_s: float) -> float:
    return round((end_s - begin_s) * 1000, 1)
