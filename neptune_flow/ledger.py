"""The ledger: what a table remembers of the topic that lands in it.

Per Kafka partition one number decides everything: `next`, the offset that the table has not taken yet. Every message below
it is in the table (or in quarantine, or known to be left out or lost), none at or above it is. The totals make an identity
that anyone can check for ever:

    next - first == rows + rejects + left_out + lost

The ledger travels in the summary of the snapshot that carries the rows, under SUMMARY_KEY, as JSON. Pure values: no clock, no
network. The quarantine table has a ledger of the same form; it counts rejects only, and says up to where they have landed.

The two ledgers of a topic cannot say just anything of each other (`contradictions`). A writer's first commit for a partition writes
the rows' entry, then the quarantine's, and only then takes messages; rejects land before the rows' ledger passes them. So, whatever
crashes fall where: a partition that the quarantine knows is known to the rows; one of which the rows have taken a message is known to the
quarantine; and the quarantine has landed at least the rejects that the rows' ledger counts. Where that does not hold, one of the
tables was dropped, rolled back or restored, or its ledger was changed.

A topic that was created anew gives its offsets out again. A ledger that goes on there says so (`began_after`): data files up to that data
sequence number hold the earlier topic's messages, and are no concern of this ledger. A log that was cut gives those of one partition out
again, from one offset on; below it each message is still the same one. A ledger that goes on there says that (`cuts`), and keeps its totals
below the cut. Both say only which rows of the past belong to other messages. What may land is decided by entries alone, and whoever sets such a
mark writes anew the entry of the partition that it is about; so the commit protocol needs to know of neither. The two ledgers have the same
marks, each with its own table's sequence numbers. An earlier Neptune would overlook them, so such a ledger has a newer format than one without.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from neptune_flow.errors import LedgerConflict, Superseded
from neptune_flow.records import Stretch

FORMAT_VERSION = 2
_FORMAT_WITHOUT_MARKS = 1
SUMMARY_KEY = "neptune.ledger"
SET_KEY = "neptune.ledger-set"
"""In the summary of a snapshot whose ledger was set by hand: from where, and which numbers it changed."""
TAG = "neptune"
"""The tag that holds the snapshot with the newest ledger; it moves in the same commit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the table remembers of one Kafka partition."""

    first: int
    """The first offset that was ever taken."""
    next: int
    commit: str
    """Id of the commit that wrote this entry: the proof that an attempt without an answer has landed."""
    rows: int = 0
    rejects: int = 0
    left_out: int = 0
    lost: int = 0
    late: int = 0
    watermark: int | None = None
    """Microseconds since the epoch: no on-time row older than this is expected any more."""
    event_time_max: int | None = None
    """The greatest event time seen, microseconds; with it a restart knows which window was open."""
    idle: bool = False

    @property
    def is_balanced(self) -> bool:
        """Whether the identity of the totals holds."""
        return self.next - self.first == self.rows + self.rejects + self.left_out + self.lost


class Cut(NamedTuple):
    """A partition's log ended here once, below what the table had taken of it."""

    partition: int
    offset: int
    sequence_number: int
    """From this offset on, data files with this data sequence number or a lower one hold messages of the log as it was before."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries of all Kafka partitions of one topic, and whose they are."""

    topic: str
    topic_id: str | None
    """Kafka's id of the topic (KIP-516); None where the broker does not tell it."""
    entries: Mapping[int, Entry] = field(default_factory=dict)
    watermark_least: int | None = None
    """The event time up to which all partitions that are not idle are complete; never runs back."""
    began_after: int | None = None
    """Data files with this data sequence number or a lower one hold messages of an earlier topic; None where there are none."""
    cuts: tuple[Cut, ...] = ()

    def advance(self, stretches: Iterable[Stretch], commit: str) -> Ledger:
        """The ledger after these stretches, which must each join where the entry of their partition ends."""
        entries = dict(self.entries)
        for stretch in stretches:
            old = entries.get(stretch.partition) or Entry(first=stretch.first, next=stretch.first, commit=commit)
            if old.next != stretch.first:
                raise ValueError(f"partition {stretch.partition}: {stretch.first} does not join {old.next}")
            entries[stretch.partition] = replace(
                old,
                next=stretch.next,
                commit=commit,
                rows=old.rows + stretch.row_count,
                rejects=old.rejects + stretch.reject_count + stretch.refused_before,
                left_out=old.left_out + stretch.left_out,
                lost=old.lost + stretch.lost,
                late=old.late + stretch.late,
                watermark=_later(old.watermark, stretch.watermark),
                event_time_max=_later(old.event_time_max, stretch.event_time_max),
                idle=stretch.idle,
            )
        return replace(self, entries=entries, watermark_least=_later(self.watermark_least, _least(entries.values())))

    def advance_rejects(self, stretches: Iterable[Stretch], commit: str) -> Ledger:
        """The quarantine's ledger after the rejects of these stretches have landed there."""
        entries = dict(self.entries)
        for stretch in stretches:
            old = entries.get(stretch.partition) or Entry(first=stretch.first, next=stretch.first, commit=commit)
            entries[stretch.partition] = replace(
                old, next=max(old.next, stretch.next), commit=commit, rejects=old.rejects + stretch.reject_count
            )
        return replace(self, entries=entries)

    def ends_of_earlier_log(self, sequence_number: int) -> dict[int, int]:
        """Per partition that was cut, the offset from which on data files of this sequence number hold messages of the log before."""
        ends: dict[int, int] = {}
        for cut in self.cuts:
            if sequence_number <= cut.sequence_number:
                ends[cut.partition] = min(cut.offset, ends.get(cut.partition, cut.offset))
        return ends

    def to_json(self) -> str:
        """Compact, keys sorted by partition number."""
        partitions = {
            str(p): {
                "first": e.first,
                "next": e.next,
                "commit": e.commit,
                "rows": e.rows,
                "rejects": e.rejects,
                "left_out": e.left_out,
                "lost": e.lost,
                "late": e.late,
                "watermark": e.watermark,
                "event_time_max": e.event_time_max,
                "idle": e.idle,
            }
            for p, e in sorted(self.entries.items())
        }
        marks: dict[str, object] = {} if self.began_after is None else {"began_after": self.began_after}
        marks |= {"cuts": self.cuts} if self.cuts else {}
        document = {
            "version": FORMAT_VERSION if marks else _FORMAT_WITHOUT_MARKS,
            "topic": self.topic,
            "topic_id": self.topic_id,
            "watermark_least": self.watermark_least,
            **marks,
            "partitions": partitions,
        }
        return json.dumps(document, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Ledger:
        """The inverse of to_json.

        Raises:
            LedgerConflict: the text is of a newer format, or is no ledger.
        """
        try:
            document = json.loads(text)
            version = document["version"]
            if version > FORMAT_VERSION:
                raise LedgerConflict(
                    f"the table's ledger has format {version}, this Neptune knows {FORMAT_VERSION}",
                    hint="run the Neptune that wrote it, or a newer one",
                )
            return Ledger(
                topic=document["topic"],
                topic_id=document["topic_id"],
                entries={int(p): Entry(**e) for p, e in document["partitions"].items()},
                watermark_least=document["watermark_least"],
                began_after=document.get("began_after"),
                cuts=tuple(Cut(*cut) for cut in document.get("cuts", ())),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LedgerConflict(
                "the table's ledger cannot be read",
                detail=f"{type(error).__name__}: {error}",
                hint="`python -m neptune_flow ledger show` says which; to go on after what the rows hold: python -m neptune_flow ledger set --from rows",
            ) from error


class Contradiction(NamedTuple):
    """Something that two ledgers of one topic cannot both say."""

    says: str
    is_quarantine_behind: bool
    """It is the quarantine that lacks something; else it is the table of rows."""


def contradictions(rows: Ledger, rejects: Ledger) -> Iterator[Contradiction]:
    """What the rows' ledger and the quarantine's, which was read after it, cannot say of each other; see the module's head."""
    if (rows.began_after is None) != (rejects.began_after is None):
        which = "rows" if rejects.began_after is None else "quarantine"
        yield Contradiction(f"only the ledger of the {which} began anew on a log", which == "rows")
    ours_cut, theirs_cut = ({(c.partition, c.offset) for c in ledger.cuts} for ledger in (rows, rejects))
    for partition, offset in sorted(ours_cut ^ theirs_cut):
        is_ours = (partition, offset) in ours_cut
        which = "rows" if is_ours else "quarantine"
        yield Contradiction(
            f"partition {partition}: cut at offset {offset} in the ledger of the {which} alone", is_ours
        )
    for partition in sorted(rows.entries.keys() | rejects.entries.keys()):
        ours, theirs = rows.entries.get(partition), rejects.entries.get(partition)
        if ours is None:
            yield Contradiction(f"partition {partition}: known to the quarantine, not to the table of rows", False)
        elif theirs is None:
            if ours.next > ours.first:
                missing = f"the rows' ledger is at offset {ours.next}, the quarantine does not know it"
                yield Contradiction(f"partition {partition}: {missing}", True)
        elif theirs.rejects < ours.rejects:
            counts = f"the rows' ledger counts {ours.rejects} rejects, the quarantine has landed {theirs.rejects}"
            yield Contradiction(f"partition {partition}: {counts}", True)


def is_newer_format(text: str) -> bool:
    """Whether this is a ledger that only a newer Neptune can read."""
    try:
        return bool(json.loads(text)["version"] > FORMAT_VERSION)
    except (ValueError, KeyError, TypeError):
        return False


def reading_of(topic_id: str | None, rows: Entry | None, rejects: Entry | None) -> str:
    """What Kafka said of the topic, and two ledgers of a partition, in one word: equal words mean equal entries, since each names the commit that wrote it."""
    return f"{topic_id or ''}/{rows.commit if rows else ''}/{rejects.commit if rejects else ''}"


def readings_differ(partition: int) -> Superseded:
    """The processes of a cluster were told different things of a partition."""
    return Superseded(
        f"partition {partition}: the tables or the topic changed while the processes of this cluster started",
        detail="a commit of an earlier process arrived between their readings, or the topic was created anew",
        hint="start all of them again: nothing is lost",
    )


def _later(a: int | None, b: int | None) -> int | None:
    return a if b is None else b if a is None else max(a, b)


def _least(entries: Iterable[Entry]) -> int | None:
    known = [e for e in entries if e.watermark is not None]
    active = [e for e in known if not e.idle] or known
    return min((e.watermark for e in active if e.watermark is not None), default=None)
