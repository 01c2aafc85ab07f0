"""Neptune without one of its rules, for each rule: the simulation must notice.

A mutant is a list of replacements `(owner, attribute, replacement)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from neptune_flow import landing, sink, start
from neptune_flow.collect import Collector
from neptune_flow.errors import Unavailable
from neptune_flow.iceberg import commit, history
from neptune_flow.kafka import TopicWatch
from neptune_flow.kafka.reader import Reader
from neptune_flow.ledger import Ledger
from neptune_flow.protocol import AlreadyThere, Append, Decision, Look, Offer, Outcome, Stop, decide
from neptune_flow.sink import Committer
from neptune_flow.start import Landing

Mutant = Sequence[tuple[Any, str, Any]]


def _compares_numbers_only(offer: Offer, last: Outcome, look: Look | None) -> Decision:
    decision = decide(offer, last, look)
    same_number = isinstance(decision, Stop) and decision.expected == decision.found
    return Append() if same_number else decision


def _takes_for_landed(outcome: Outcome) -> Any:
    def decision(offer: Offer, last: Outcome, look: Look | None) -> Decision:
        return AlreadyThere() if last is outcome else decide(offer, last, look)

    return decision


_attempt: Any = landing._Drive._attempt
_land_rows, _land_rejects = Committer._land_rows, Committer._land_rejects
_commit = Committer._commit
_restore, _read_from = Collector._restore, Landing.read_from
_check, _ask = TopicWatch.check, TopicWatch._ask


def _deletes_files_on_unknown(self: Any) -> None:
    try:
        _attempt(self)
    finally:
        if self._last is Outcome.UNKNOWN:
            for file in self._files:
                self._table._sim.storage.pop(file.path, None)


def _lands_no_files(self: Any) -> None:
    self._files = ()
    _attempt(self)


def _puts_rejects_off(self: Any, stretches: Any, rejects: Any) -> Any:
    if not rejects.rows:
        return _land_rejects(self, stretches, rejects)
    self.put_off = stretches, rejects
    return None


def _lands_rows_first(self: Any, stretches: Any, rows: Any) -> Any:
    landed = _land_rows(self, stretches, rows)
    if put_off := self.__dict__.pop("put_off", None):
        _land_rejects(self, *put_off)
    return landed


def _publishes_first(self: Any) -> None:
    self._publish({s.partition: s.next for s in self._stretches})
    _commit(self)


def _restores_whatever_it_gets(self: Any, stored: Any) -> None:
    """The pending offsets are taken for the ledger's next ones."""
    ours = self._resume

    def resume(partition: int) -> Any:
        found = ours(partition)
        pending = Collector.__init__.__globals__["CollectorState"].of(stored).pending
        return replace(found, entry=found.entry and replace(found.entry, next=pending.first), quarantine_ahead=False)

    self._resume = resume
    _restore(self, stored)
    self._resume = ours


def _restores_of_any_table(self: Any, stored: Any) -> None:
    ours = self._resume
    self._resume = lambda partition: replace(ours(partition), bound_to=stored[0])
    _restore(self, stored)
    self._resume = ours


def _reads_on_from_any_position(self: Any, partition: int, position: Any) -> Any:
    found = _read_from(self, partition, position)
    return replace(found, offset=position.next if position else found.offset)


def _jumps_in_silence(self: Any, partition: int, part: Any) -> None:
    low, high = self._consumer.get_watermark_offsets(SimpleNamespace(partition=partition), timeout=1) or (0, 0)
    part.position = min(max(part.position, low), high)


def _takes_silence_for_consent(self: Any) -> None:
    with suppress(Unavailable):
        _check(self)


def _keeps_its_client(self: Any) -> Any:
    self._admin = admin = self._admin or self._address.admin()
    try:
        return _ask(self)
    finally:
        self._admin = admin


def _waters_back(self: Ledger, stretches: Any, commit_id: str, *, original: Any = Ledger.advance) -> Ledger:
    after: Ledger = original(replace(self, watermark_least=None), stretches, commit_id)
    return after


MUTANTS: Mapping[str, Mutant] = {
    "drops the pin": [(commit, "requirements", lambda _look: ())],
    "drops the tag check": [(history, "_refuse_stale_tag", lambda *_: None)],
    "commits rows before quarantine": [
        (Committer, "_land_rejects", _puts_rejects_off),
        (Committer, "_land_rows", _lands_rows_first),
    ],
    "skips the join check of restored rows": [
        (Collector, "_restore", _restores_whatever_it_gets),
        (Collector, "_join_ledger", lambda *_: None),
    ],
    "skips the join check of restored positions": [
        (Landing, "read_from", _reads_on_from_any_position),
        (Collector, "_join_ledger", lambda *_: None),
    ],
    "restores the rows of any table": [(Collector, "_restore", _restores_of_any_table)],
    "deletes files on unknown": [(landing._Drive, "_attempt", _deletes_files_on_unknown)],
    "publishes offsets first": [(Committer, "_commit", _publishes_first)],
    "compares numbers, not who wrote them": [(landing, "decide", _compares_numbers_only)],
    "takes unknown for landed": [(landing, "decide", _takes_for_landed(Outcome.UNKNOWN))],
    "takes refused for landed": [(landing, "decide", _takes_for_landed(Outcome.REFUSED))],
    "fences nothing": [(sink, "_firsts", lambda _stretches: [])],
    "lets the processes of a cluster start from different readings": [
        (start, "reading_of", lambda *_: "same"),
        (sink, "reading_of", lambda *_: "same"),
    ],
    "forgets what was refused before": [(start, "verdicts_ahead", lambda *_: {})],
    "moves the ledger without the rows": [(landing._Drive, "_attempt", _lands_no_files)],
    "does not look at the topic's id": [
        (TopicWatch, "check", lambda _self: None),
        (start, "own_ledger", lambda _table, ledger, topic, *_: ledger or Ledger(topic.name, topic.id)),
    ],
    "does not watch the topic while it runs": [(TopicWatch, "check", lambda _self: None)],
    "takes no answer about the topic for consent": [(TopicWatch, "check", _takes_silence_for_consent)],
    "goes on asking with a client that gets no answer": [(TopicWatch, "_ask", _keeps_its_client)],
    "jumps in silence over what retention deleted": [(Reader, "_jump_over_deleted", _jumps_in_silence)],
    "lets the watermark run back": [(Ledger, "advance", _waters_back)],
}
