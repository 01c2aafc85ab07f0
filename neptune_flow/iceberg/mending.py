"""A table whose ledger is looked at, or set by hand, although it may make no sense any more.

Unlike `LakeTable` it needs no contract and objects to nothing; unlike `TableReader` it can commit, and nothing but a
ledger: a snapshot without files, pinned to what was looked at, with `main` and the tag moved onto it (see `commit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyiceberg.table import Table

from neptune_flow.iceberg import commit as commits
from neptune_flow.iceberg.audit import Audit
from neptune_flow.iceberg.commit import Attempt, TableLook
from neptune_flow.iceberg.history import Survey, survey
from neptune_flow.iceberg.reading import TableReader
from neptune_flow.ledger import SUMMARY_KEY, Ledger


@dataclass(frozen=True, slots=True)
class Surveyed(Survey):
    """A table at one moment, whether or not its history makes sense."""

    table: Table = field(repr=False, compare=False)

    @property
    def sequence_number(self) -> int:
        """The newest: no data file has a greater one."""
        return self.table.metadata.next_sequence_number() - 1

    @property
    def look(self) -> TableLook:
        """The same as a look, with the ledger that could be found."""
        return TableLook(ledger=self.ledger, table=self.table, head=self.head, tag=self.tag)


class MendableTable(TableReader):
    """A table to look at and to land a ledger in."""

    def __init__(self, reader: TableReader) -> None:
        super().__init__(reader.catalog, reader.faults, reader.identifier)

    def survey(self) -> Surveyed:
        """The table as it is now.

        Raises:
            LedgerConflict: the table is gone.
            Unavailable, AccessDenied: the catalog does not answer, or refuses.
        """
        table = self.load()
        found = survey(self.name, table.metadata)
        return Surveyed(
            found.ledger, found.snapshot, found.head, found.tag, found.problem, found.is_mendable, table=table
        )

    def audit(self, seen: Surveyed) -> Audit:
        """What lies in the table as it was seen."""
        return Audit(self, seen.table)

    def set_ledger(
        self, seen: Surveyed, ledger: Ledger, commit: str, summary: Mapping[str, str], snapshots_max: int
    ) -> Attempt:
        """One attempt to land a ledger on top of what was seen; arguments as those of `LakeTable.attempt`."""
        own = {**summary, commits.COMMIT_KEY: commit, SUMMARY_KEY: ledger.to_json()}
        attempt, _ = commits.attempt(
            commits.Task(self.name, seen.look, (), ledger, own, snapshots_max, None, None), self.faults
        )
        return attempt
