"""Whether Neptune could land, asked of each outside world in turn: settings, contract, Kafka, topic, storage, catalog, tables, ledgers.

    settings ─┬─► contract ───────────────────────────┐
              ├─► Kafka ─► topic ─────────────────────┼─► ledgers
              ├─► storage                             │
              └─► catalog ─► table, quarantine ───────┘

What fails does not hinder what does not depend on it. Nothing is written: no bucket, table, file, topic or offset. Each question has a limit, also
where a client library would wait for longer, so that the whole ends in time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Generic, TypeVar

from neptune_flow.errors import NeptuneError, Unavailable
from neptune_flow.iceberg import Lake
from neptune_flow.iceberg.comparison import Comparison
from neptune_flow.iceberg.presence import look_at_catalog, look_at_storage
from neptune_flow.inspection.columns import Made, compare_rejects, compare_rows, make, remarks
from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.waiting import count_brokers, first_times
from neptune_flow.mend.describe import describe
from neptune_flow.mend.scene import Log, ask_kafka, open_tables
from neptune_flow.settings import Settings

T = TypeVar("T")


class State(Enum):
    """How a check came out."""

    OK = "ok"
    WRONG = "wrong"
    NOT_LOOKED = "not looked"
    """It depends on something that is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer."""

    what: str
    state: State
    said: str
    detail: str = ""
    hint: str = ""
    """What to do, where something is wrong or may surprise."""


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    """What a question gave: a value for those who depend on it, and the finding to tell."""

    value: T | None
    finding: Finding


def check(load: Callable[[], Settings], limit_s: float) -> Iterator[Finding]:
    """Each finding as soon as it is known.

    Args:
        load: reads the settings.
        limit_s: of one question, seconds.
    """
    settings = _ask("settings", lambda: _settings(load), limit_s)
    yield settings.finding
    if (known := settings.value) is None:
        for what in ("contract", "Kafka", "topic", "storage", "catalog", "table", "quarantine", "ledgers"):
            yield _not_looked(what, "settings")
        return
    contract = _ask("contract", lambda: _contract(known), limit_s)
    yield contract.finding
    kafka = _ask("Kafka", lambda: _kafka(known), limit_s)
    yield kafka.finding
    topic = _ask("topic", lambda: _topic(known), limit_s, after=kafka)
    yield topic.finding
    storage = _ask("storage", lambda: (True, look_at_storage(known), ""), limit_s).finding
    yield storage
    catalog = _ask("catalog", lambda: _catalog(known), limit_s)
    yield _behind(storage, catalog.finding)
    lake, made = catalog.value, contract.value
    if lake is None:
        # A catalog that is well and gives no lake is a file that the start makes: there is no table either.
        is_new = catalog.finding.state is State.OK
        for what in ("table", "quarantine", "ledgers"):
            yield (
                Finding(what, State.OK, "not there yet, the start makes it") if is_new else _not_looked(what, "catalog")
            )
        return
    for what, compare in (("table", compare_rows), ("quarantine", compare_rejects)):
        if made is None:
            yield _not_looked(what, "contract")
        else:
            table = _ask(what, partial(_table, partial(compare, known, made, lake)), limit_s)
            yield _behind(storage, table.finding)
    yield _behind(storage, _ask("ledgers", lambda: _ledgers(known, topic.value), limit_s).finding)


def _settings(load: Callable[[], Settings]) -> tuple[Settings, str, str]:
    settings = load()
    catalog = settings.catalog
    return settings, f"topic {settings.kafka.topic} into table {'.'.join([*catalog.namespace, catalog.table])}", ""


def _contract(settings: Settings) -> tuple[Made, str, str]:
    made = make(settings)
    said = f"{made.contract.name}, {len(made.rows)} columns, fingerprint {made.contract.fingerprint}"
    return made, said, "; ".join(remarks(made.contract))


def _kafka(settings: Settings) -> tuple[int, str, str]:
    address = KafkaAddress.of(settings.kafka)
    brokers = count_brokers(address)
    return brokers, f"{address.bootstrap_servers}, {brokers} broker{'s' if brokers > 1 else ''}", ""


def _topic(settings: Settings) -> tuple[Log, str, str]:
    log = ask_kafka(settings)
    held = sum(end - first for first, end in log.ranges.values())
    # Who may ask for a topic may not be allowed to read it; that is only known by reading.
    filled = {p: first for p, (first, end) in log.ranges.items() if end > first}
    first_times(KafkaAddress.of(settings.kafka), dict(list(filled.items())[:1]))
    hint = "" if log.topic.id else "the broker tells no topic ids: a topic that is created anew may not be recognized"
    return log, f"{log.topic.name}, {len(log.ranges)} partitions, {held:,} offsets held", hint


def _catalog(settings: Settings) -> tuple[Lake | None, str, str]:
    lake, said = look_at_catalog(settings)
    return lake, said, ""


def _table(compare: Callable[[], Comparison | None]) -> tuple[bool, str, str]:
    compared = compare()
    if compared is None:
        return True, "not there yet, the start makes it", ""
    if compared.refusal is not None:
        raise compared.refusal
    more = sum(pair.ours is None for pair in compared.columns)
    return True, f"{compared.table} takes the contract's columns" + (f", and has {more} more" if more else ""), ""


def _ledgers(settings: Settings, log: Log | None) -> tuple[bool, str, str]:
    tables = open_tables(settings)
    if tables.rows is None and tables.quarantine is None:
        return True, "none yet, the start begins them", ""
    facts = describe(tables, log, settings.kafka.topic)
    if facts["problems"]:
        first, *others = facts["problems"]
        also = "; ".join(problem["what"] for problem in others)
        raise NeptuneError(first["what"], detail="; ".join(filter(None, [first["detail"], also])), hint=first["hint"])
    lost = sum(entry["lost"] for entry in facts["tables"]["rows"]["partitions"].values())
    hint = f"{lost:,} offsets were lost to Kafka's retention before they were read" if lost else ""
    unseen = "" if log else "; Kafka's log could not be held against them"
    return True, f"agree with each other{unseen}", hint


def _behind(storage: Finding, finding: Finding) -> Finding:
    """What a catalog says that may only wait for its storage."""
    if not (storage.state is finding.state is State.WRONG):
        return finding
    behind = "begin with the storage: many catalogs read the tables' metadata there, and hang with it"
    return replace(finding, hint=f"{finding.hint}; or {behind}" if finding.hint else behind)


def _not_looked(what: str, needed: str) -> Finding:
    return Finding(what, State.NOT_LOOKED, f"needs: {needed}")


def _ask(
    what: str,
    question: Callable[[], tuple[T, str, str]],
    limit_s: float,
    after: _Answer[int] | None = None,
) -> _Answer[T]:
    """The answer to a question within the limit: its value, what is said of it, and a hint."""
    if after is not None and after.finding.state is not State.OK:
        return _Answer(None, _not_looked(what, after.finding.what))
    got: list[tuple[T, str, str]] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            got.append(question())
        except Exception as error:  # noqa: BLE001 - told below, whatever it is
            failed.append(error)

    # A client that hangs is left behind: the thread ends with the process.
    asking = threading.Thread(target=run, name=f"check of {what}", daemon=True)
    asking.start()
    asking.join(limit_s)
    if got:
        value, said, hint = got[0]
        return _Answer(value, Finding(what, State.OK, said, hint=hint))
    error = failed[0] if failed else Unavailable(f"no answer within {limit_s:g} s")
    if isinstance(error, NeptuneError):
        return _Answer(None, Finding(what, State.WRONG, error.primary, error.detail, error.hint))
    return _Answer(None, Finding(what, State.WRONG, f"a defect: {type(error).__name__}: {error}"))
