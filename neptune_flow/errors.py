"""Every reason for which Neptune stops, as one tree, with the exit code of each.

    NeptuneError                    1
    ├── SettingsError              78   a setting is unknown, out of range or contradicts another
    ├── ContractError              78   the contract cannot be loaded or cannot become a table
    ├── TableMismatch              78   a table that exists has not the columns of the contract
    ├── AccessDenied               77   Kafka, object storage or catalog refuses the credentials
    │   └── Untrusted              77   the certificate that it shows is not trusted: Neptune gives it no credentials
    ├── Unavailable                69   Kafka, object storage or catalog stayed away past its limit
    │   └── LostRace               69   other writers of the table were quicker at every try within the limit
    ├── LedgerConflict             65   topic and table tell different stories: a person must decide
    ├── Superseded                 75   another writer landed the same partitions: start again, nothing is lost
    ├── StateDoesNotJoin           74   the recovery store does not fit the ledger: set it aside, start again
    ├── HoleInLog                  70   offsets are missing that Kafka cannot explain: a defect, nothing was committed
    ├── ClockSetBack               71   the machine's clock was set back, and the engine would wait for it: start again
    ├── ClusterBroken              76   another process of a Bytewax cluster has ended: start all again, nothing is lost
    ├── DrainTimeout               73   the drain took longer than its limit: nothing is lost
    └── StopRequested               0   a signal came while nothing was under way

A message has three parts: what happened (with partition and offsets), the detail, and a hint that says what to do.
No other module decides an exit code; no text of an error ever holds a secret.
"""

from __future__ import annotations

from typing import ClassVar


class NeptuneError(Exception):
    """Base of all errors that Neptune raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, primary: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(primary, detail, hint)
        self.primary = primary
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.primary]
        if self.detail:
            parts.append(f"detail: {self.detail}")
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.primary, self.detail, self.hint))


def _rebuild(kind: type[NeptuneError], primary: str, detail: str, hint: str) -> NeptuneError:
    return kind(primary, detail=detail, hint=hint)


class SettingsError(NeptuneError):
    """A setting is unknown, out of range or contradicts another; names the setting, the value and what is allowed."""

    exit_code = 78


class ContractError(NeptuneError):
    """The contract cannot be loaded, has no event time, or has a field that no Iceberg type can hold."""

    exit_code = 78


class TableMismatch(NeptuneError):
    """A table that exists lacks a column of the contract, or has it with another type."""

    exit_code = 78


class AccessDenied(NeptuneError):
    """Kafka, object storage or the catalog answered that the credentials do not allow this."""

    exit_code = 77


class Untrusted(AccessDenied):
    """Kafka, object storage or the catalog shows a certificate that has expired, is for another host, or is of an unknown authority.

    Treated as credentials that are refused: that does not mend itself, so a start ends at once, and a running process waits for a person.
    """


class Unavailable(NeptuneError):
    """Kafka, object storage or the catalog did not answer within the limit."""

    exit_code = 69


class LostRace(Unavailable):
    """Another writer has committed to the table first: nobody is away, and the commit is tried again."""


class LedgerConflict(NeptuneError):
    """Topic and table tell different stories (re-created topic, rolled-back table, newer ledger format)."""

    exit_code = 65


class Superseded(NeptuneError):
    """Another writer has landed offsets of the same Kafka partition; this one stops without committing."""

    exit_code = 75


class StateDoesNotJoin(NeptuneError):
    """What the recovery store restored does not begin where the ledger ends; the ledger wins."""

    exit_code = 74


class HoleInLog(NeptuneError):
    """A message batch does not begin where the one before it ended."""

    exit_code = 70


class ClockSetBack(NeptuneError):
    """The machine's clock was set back; the engine's timers would stand still until it has caught up."""

    exit_code = 71


class ClusterBroken(NeptuneError):
    """The engine stopped because a process of its cluster has gone."""

    exit_code = 76


class DrainTimeout(NeptuneError):
    """The drain after a signal did not finish within its limit."""

    exit_code = 73


class StopRequested(NeptuneError):
    """SIGTERM or SIGINT came during the start, when there was nothing to drain."""

    exit_code = 0
