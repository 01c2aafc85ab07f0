"""One history: a topic, two tables, deployments that start, race, freeze, crash and wake, others who write; then a calm end in which all is landed.

In the calm end every process that is still frozen wakes and goes on, everything in flight arrives, and what is left is landed, before and after.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot

from neptune_flow.errors import (
    AccessDenied,
    LedgerConflict,
    StateDoesNotJoin,
    StopRequested,
    Superseded,
    Unavailable,
)
from neptune_flow.ledger import SUMMARY_KEY, TAG, Ledger
from neptune_flow.records import DataFile, Pile
from tests.simulation.dice import Dice
from tests.simulation.kafka import Kind, SimKafka
from tests.simulation.process import DAY_US, US, Deployment, Kept, Neptune, Store
from tests.simulation.table import SimTable
from tests.simulation.world import Crash, Task, World

TURNS_MAX = 32
PROCESSES_MAX = 4
"""Alive at once; one of them is meant to be, the others are zombies, or somebody's mistake."""
KINDS = [Kind.GOOD] * 6 + [Kind.BAD, Kind.DISPUTED, Kind.LEFT_OUT]
ENDS = (Crash, Superseded, StateDoesNotJoin, Unavailable, AccessDenied, StopRequested, LedgerConflict)
"""How a process may end; anything else is a defect."""


class History:
    """Everything that one list of decisions does."""

    def __init__(self, dice: Dice, *, tells: bool = False) -> None:
        self.dice = dice
        self.world = World(dice, tells=tells)
        self.kafka = SimKafka(self.world, dice.pick([1, 2, 3]), tells_ids=not dice.chance(0.1))
        self.rows = SimTable(self.world, "rows", "event_date", self._rows_moved)
        self.quarantine = SimTable(self.world, "quarantine", "day", lambda _before, _after: None)
        self.tables = (self.rows, self.quarantine)
        self.ends: Counter[str] = Counter()
        """How the processes ended."""
        self._is_drastic = dice.chance(0.25)
        self.is_stopped = False
        """Nothing lands any more, for a person must decide first."""
        self._may_conflict = False
        self._start_from = "group" if dice.chance(0.1) else "earliest"
        self._event_time = DAY_US - 300 * US
        self._tasks: list[Task] = []
        self._started = 0
        self._store: Store = []
        self._deeds = self._possible_deeds()

    def run(self) -> None:
        for p in self.kafka.logs:
            self._produce(p)
            if self._start_from == "group":
                first = self.dice.below(len(self.kafka.logs[p]) + 1)
                self.kafka.reached[p] = first
                self.kafka.commit_group(p, first)
        for _ in range(self.dice.below(TURNS_MAX)):
            self.dice.pick(self._deeds)()
        self._end_calmly()

    def _possible_deeds(self) -> list[Callable[[], None]]:
        often: list[Callable[[], None]] = [self._go_on] * 16 + [self._start] * 2 + [self._produce_somewhere] * 3
        rarely: list[Callable[[], None]] = [self._arrive] * 2 + [
            self._kill,
            self._retain,
            self._compact,
            self._foreign_commit,
        ]
        drastic: list[Callable[[], None]] = [
            self._recreate_topic,
            self._roll_back,
            self._roll_back,
            self._drop_table,
            self._mend,
        ]
        return [*often, *rarely, *(drastic if self._is_drastic else [])]

    # Neptune

    def _go_on(self) -> None:
        if not self._tasks:
            self._start()
        older = len(self._tasks) > 1 and self.dice.chance(0.3)
        task = self._tasks[-1] if not older else self._tasks[self.dice.below(len(self._tasks) - 1)]
        task.go_on()
        self._bury(task)

    def _start(self) -> None:
        if len(self._tasks) == PROCESSES_MAX:
            self._kill()
        dice, everything = self.dice, list(self.kafka.logs)
        workers = dice.pick([1, 2, 3])
        deployment = Deployment(
            partitions=everything[dice.below(len(everything)) :] if dice.chance(0.3) else everything,
            workers=workers,
            is_cluster=workers > 1 and dice.chance(0.3),
            contract=dice.below(2),
            start_from=self._start_from,
            retry_s_max=dice.pick([60.0, 0.0]),
        )
        has_store = dice.chance(0.4)
        restored = self._restored() if has_store else {}
        self._tasks.append(self._task(deployment, restored, self._store.append if has_store else None, self._live))

    def _task(
        self,
        deployment: Deployment,
        restored: Mapping[int, Kept],
        keep: Callable[[Mapping[int, Kept]], None] | None,
        live: Callable[[Neptune], None],
    ) -> Task:
        self._started += 1
        neptune = Neptune(self.kafka, self.tables, deployment, restored, keep)
        task = Task(f"process {self._started}", lambda: live(neptune))
        if self.world.tells:
            self.world.tell(f"{task.name} is made: {deployment}{f', restored {sorted(restored)}' if restored else ''}")
        return task

    def _live(self, neptune: Neptune) -> None:
        neptune.open()
        while not self.world.calm:
            neptune.epoch()
            self.world.freeze()
        neptune.drain()

    def _restored(self) -> dict[int, Kept]:
        """What the recovery store gives back: of the last epoch, of an earlier one, of two at once, or of another table."""
        dice, restored = self.dice, {}
        if dice.chance(0.2):
            self._store = []
        for p in self.kafka.logs:
            last = [e[p] for e in self._store[-4:] if p in e][::-1]
            if last:
                kept = dice.pick(last)
                if dice.chance(0.1):
                    kept = Kept(kept.position, dice.pick(last).state)
                restored[p] = _of_another_table(kept) if dice.chance(0.05) else kept
        return restored

    def _kill(self) -> None:
        if self._tasks:
            task = self._tasks[self.dice.below(len(self._tasks))]
            self.world.tell(f"{task.name} is killed")
            task.kill()
            self._bury(task)

    def _bury(self, task: Task) -> None:
        if not task.is_over:
            return
        if task in self._tasks:
            self._tasks.remove(task)
        end = task.end
        if end is None:
            return
        self.ends[type(end).__name__] += 1
        if self.world.tells:
            self.world.tell(f"{task.name} has ended: {type(end).__name__} {getattr(end, 'primary', end)}")
        if isinstance(end, StateDoesNotJoin):
            self._store = []
        if not isinstance(end, ENDS):
            self.world.wrong.append(f"broke: {type(end).__name__}: {end}")
        elif isinstance(end, LedgerConflict) and not self._may_conflict:
            self.world.wrong.append(f"conflict: without a reason: {end}")

    def _rows_moved(self, before: Ledger | None, after: Ledger) -> None:
        """What must hold whenever rows have landed."""
        held = {*self.quarantine.content(), *self.quarantine.taken_away}
        refused = Counter(r.partition for r in held if r.offset < _next(after, r.partition))
        for p, entry in after.entries.items():
            self.kafka.reached[p] = max(entry.next, self.kafka.reached.get(p, 0))
            if refused[p] < entry.rejects:
                self.world.wrong.append(f"behind: partition {p} has {entry.rejects} rejects, quarantine {refused[p]}")
        old = before.watermark_least if before else None
        if old is not None and (after.watermark_least is None or after.watermark_least < old):
            self.world.wrong.append(f"back: the least watermark goes from {old} to {after.watermark_least}")

    # Kafka

    def _produce_somewhere(self) -> None:
        self._produce(self.dice.below(len(self.kafka.logs)))

    def _produce(self, partition: int) -> None:
        for _ in range(self.dice.below(9)):
            self._event_time += self.dice.pick([1, 12, 40]) * US
            late_s = self.dice.pick([0, 0, 5, 100])
            self.kafka.append(partition, self.dice.pick(KINDS), self._event_time - late_s * US)

    def _retain(self) -> None:
        p = self.dice.below(len(self.kafka.logs))
        low, end = self.kafka.low[p], len(self.kafka.logs[p])
        self.kafka.retain_from(p, low + self.dice.below(min(end - low, 4) + 1))
        self.world.faults["retention"] += 1
        self.world.tell(f"retention: partition {p} begins at {self.kafka.low[p]}")

    def _compact(self) -> None:
        p = self.dice.below(len(self.kafka.logs))
        if log := self.kafka.logs[p]:
            value = self.dice.pick(log).value
            self.kafka.compacted.add(value)
            self.world.faults["compaction of the topic"] += 1
            self.world.tell(f"Kafka compacts {value} away")

    def _recreate_topic(self) -> None:
        if self.kafka.tells_ids:  # else nobody could notice
            self._drastic("topic re-created")
            self.kafka.recreate()
            for p in self.kafka.logs:
                self._produce(p)

    # Others at the tables

    def _table(self) -> SimTable:
        return self.dice.pick(self.tables)

    def _arrive(self) -> None:
        waiting = [t for t in self.tables if t.in_flight]
        if waiting:
            self.dice.pick(waiting).arrive()

    def _foreign_commit(self) -> None:
        table = self._table()
        files = table.files()
        if table.metadata.head is None:
            return
        deed = self.dice.pick(["append", "compaction", "expiry", "delete"])
        self.world.faults[f"foreign {deed}"] += 1
        match deed:
            case "append":
                table.foreign([*files, table.store([])])
            case "compaction":
                table.foreign([table.store([row for f in files for row in table.storage.get(f, ())])])
            case "expiry":
                _expire(table)
            case "delete" if files:
                table.taken_away.update(table.storage.get(files[0], ()))
                table.foreign(files[1:])
        self.world.tell(f"foreign {deed}: {table.name} is at {table.told()}")

    def _roll_back(self) -> None:
        table = self._table()
        if older := list(table.line())[1:]:
            self._drastic(f"rollback of {table.name}")
            if table is self.quarantine:
                table.taken_away.update(table.content())
            table.metadata = table.metadata.with_ref(MAIN_BRANCH, self.dice.pick(older).snapshot_id)

    def _drop_table(self) -> None:
        table = self._table()
        self._drastic(f"{table.name} is dropped and made anew")
        if table is self.quarantine:
            table.taken_away.update(table.content())
        table.recreate()

    def _mend(self) -> None:
        """A person undoes rollbacks; one of the rows may be accepted instead, as the error's hint says."""
        for table in self.tables:
            if not _is_rolled_back(table):
                continue
            tag = table.metadata.refs[TAG]
            kept = [s for s in table.line() if _has_ledger(s)]
            accepts = table is self.rows and kept and self.dice.chance(0.5)
            self._drastic(f"the rollback of {table.name} is {'accepted' if accepts else 'undone'}")
            name, snapshot_id = (TAG, kept[0].snapshot_id) if accepts else (MAIN_BRANCH, tag.snapshot_id)
            table.metadata = table.metadata.with_ref(name, snapshot_id)

    @property
    def is_left_rolled_back(self) -> bool:
        """Nobody has mended a rollback: table and ledger are not of the same day."""
        return any(_is_rolled_back(table) for table in self.tables)

    def _drastic(self, what: str) -> None:
        self._may_conflict = True
        self.world.faults[what] += 1
        self.world.tell(what)

    # The end

    def _end_calmly(self) -> None:
        if not self.dice.chance(0.2):
            self._mend()
        self.world.calm = True
        self.world.tell("calm from here on")
        self._land_the_rest()
        if not self._tasks and not any(t.in_flight for t in self.tables):
            return
        for task in list(self._tasks):
            while not task.is_over:
                task.go_on()
            self._bury(task)
        for table in self.tables:
            while table.in_flight:
                table.arrive()
        self._land_the_rest()

    def _land_the_rest(self) -> None:
        everything = Deployment(list(self.kafka.logs), 1, False, 1, self._start_from, 60.0)
        task = self._task(everything, {}, None, _land_all)
        task.go_on()
        self._bury(task)
        self.is_stopped = isinstance(task.end, LedgerConflict)
        if task.end is not None and not self.is_stopped:
            self.world.wrong.append(f"stuck: {type(task.end).__name__}: {task.end}")


def _land_all(neptune: Neptune) -> None:
    neptune.open()
    neptune.read_all()
    neptune.drain()


def _next(ledger: Ledger, partition: int) -> int:
    return ledger.entries[partition].next if partition in ledger.entries else 0


def _is_rolled_back(table: SimTable) -> bool:
    tag = table.metadata.refs.get(TAG)
    return tag is not None and tag.snapshot_id not in [s.snapshot_id for s in table.line()]


def _has_ledger(snapshot: Snapshot) -> bool:
    return snapshot.summary is not None and SUMMARY_KEY in snapshot.summary.additional_properties


def _of_another_table(kept: Kept) -> Kept:
    """A store that was mixed up: its files are in another table's folder."""
    position, state = pickle.loads(kept.position), pickle.loads(kept.state)  # noqa: S301 - our own
    if state is None:
        return Kept(pickle.dumps(("another", position[1])), kept.state)
    pending, open_windows = pickle.loads(state[1])  # noqa: S301 - our own
    file = DataFile("file-of-another-table", 0, pending.row_count, 1, {}, {}, {}, {}, {}, {}, ())
    pending = replace(pending, rows=Pile((file,)))
    return Kept(
        pickle.dumps(("another", position[1])), pickle.dumps(("another", pickle.dumps((pending, open_windows))))
    )


def _expire(table: SimTable) -> None:
    """All snapshots but the newest two and the tagged one, with the files that no other names."""
    metadata = table.metadata
    kept = {ref.snapshot_id for ref in metadata.refs.values()} | {s.snapshot_id for s in metadata.snapshots[-2:]}
    gone = [s for s in metadata.snapshots if s.snapshot_id not in kept]
    named = {f for s in metadata.snapshots if s.snapshot_id in kept for f in table.lists[s.manifest_list]}
    for path in {f for s in gone for f in table.lists[s.manifest_list]} - named:
        table.storage.pop(path, None)
    table.metadata = metadata.without([s.snapshot_id for s in gone])
