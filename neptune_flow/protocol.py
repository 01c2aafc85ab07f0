"""The commit protocol's decision, with nothing else in it: no clock, no network, no Iceberg, no Bytewax.

The shell (`sink`) drives it for one table and one commit at a time:

      ┌─────────── look (a fresh table) ◄───────────────┐
      ▼                                                 │ refused · unknown
    decide ── Append ──► attempt, pinned to that look ──┤
      │                                                 │ landed
      ├─ AlreadyThere ──► done                          └──────► done
      └─ Stop ──► the process ends, nothing is deleted

Why no message lands twice. An attempt names the table state whose ledger was read, and the catalog refuses it if that is no
longer current. So of two attempts that read the same ledger at most one lands, whoever sent them and however late they
arrive. A claim is appended only if it begins at the number that the ledger read holds; after it has landed, the ledger holds its
end, and the claim does not begin there any more.

Why an unknown outcome is no danger. Every entry of the ledger names the commit that wrote it. Entries of a partition are
written by its owner alone, so after an attempt without an answer a fresh look shows either our commit id (it has landed)
or the old number (it has not yet: attempt again, pinned to what was just seen; should the first still arrive, one of the two
is refused) or somebody else's number (we are superseded: stop).

Why one message has one verdict. Verdicts differ between writers (another contract, another time of day), and there are two tables, so a
writer of long ago could still quarantine what a new one lands as a row. Hence a writer's first commit for a partition fences both
tables before it takes anything (`sink`): first it writes its own id into the rows' entry, then into the quarantine's. From the first on no
older writer can land a row, from the second on none can land a reject; what the quarantine got after the new writer read it has changed
its entry, and stops the new writer.

Why no message is lost. The ledger moves only by claims that begin at its number: it never skips. The quarantine's claims land
before the rows' (`sink`), so when the rows' ledger passes a reject, the quarantine holds it.

The claims of one commit land together or not at all, since one Iceberg commit carries them. A look that shows some of them
landed by us and others not is impossible, and stops.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from neptune_flow.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Claim:
    """One Kafka partition's part of a commit."""

    partition: int
    begins: int | None
    """The ledger's number on which this commit builds; None where the ledger is expected to have no entry."""
    builds_on: str | None
    """Id of the commit that wrote this number: the number alone could have been written twice."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One commit to one table, whatever the number of its attempts."""

    commit: str
    """Unique for ever; the same in each attempt."""
    topic: str
    topic_id: str | None
    claims: tuple[Claim, ...]


class Outcome(Enum):
    """What is known after an attempt."""

    NONE = "none"
    """No attempt has been made yet."""
    LANDED = "landed"
    REFUSED = "refused"
    """Definitely not landed: a conflict or a refusal."""
    UNKNOWN = "unknown"
    """Anything else: it may have landed, or may still."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a fresh table showed. Looked at before the last attempt, it is worth nothing: pass None instead."""

    ledger: Ledger | None
    """None where the table has never had one."""


@dataclass(frozen=True, slots=True)
class Append:
    """Attempt the commit, pinned to the look that was decided upon."""


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """The commit has landed, by this answer or by an earlier attempt."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Fetch a fresh table state, then decide anew."""


class StopReason(Enum):
    SUPERSEDED = "another writer moved the ledger of a partition"
    OTHER_TOPIC = "the ledger is of another topic"
    TOPIC_RECREATED = "the ledger is of an earlier topic of this name"
    TORN = "a part of one commit has landed without the rest"


@dataclass(frozen=True, slots=True)
class Stop:
    """Commit nothing more; the process ends and a restart resumes from the ledger."""

    reason: StopReason
    partition: int | None = None
    expected: int | None = None
    found: int | None = None


Decision = Append | AlreadyThere | LookAgain | Stop


def decide(offer: Offer, last: Outcome, look: Look | None) -> Decision:
    """What to do next with an offer, from the last attempt's outcome and what the table showed after it."""
    if last is Outcome.LANDED:
        return AlreadyThere()
    if look is None:
        return LookAgain()
    ledger = look.ledger
    if ledger is None:
        return _judge(offer, {})
    if ledger.topic != offer.topic:
        return Stop(StopReason.OTHER_TOPIC)
    if ledger.topic_id and offer.topic_id and ledger.topic_id != offer.topic_id:
        return Stop(StopReason.TOPIC_RECREATED)
    return _judge(offer, {p: (e.next, e.commit) for p, e in ledger.entries.items()})


def _judge(offer: Offer, entries: dict[int, tuple[int, str]]) -> Decision:
    ours = [c for c in offer.claims if c.partition in entries and entries[c.partition][1] == offer.commit]
    if ours:
        return AlreadyThere() if len(ours) == len(offer.claims) else Stop(StopReason.TORN)
    for claim in offer.claims:
        found, wrote = entries.get(claim.partition, (None, None))
        if (found, wrote) != (claim.begins, claim.builds_on):
            return Stop(StopReason.SUPERSEDED, claim.partition, claim.begins, found)
    return Append()
