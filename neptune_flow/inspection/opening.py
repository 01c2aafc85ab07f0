"""What is looked at, opened: a table that must be there, and Kafka's log, which may be missing."""

from __future__ import annotations

from neptune_flow.errors import LedgerConflict, NeptuneError
from neptune_flow.iceberg import Lake, TableReader
from neptune_flow.mend.scene import Log, ask_kafka
from neptune_flow.settings import Settings

NO_TABLE_HINT = "check ICEBERG_NAMESPACE and ICEBERG_TABLE; Neptune's first start creates it"


def open_table(settings: Settings, name: str) -> TableReader:
    """A table of the settings' namespace.

    Raises:
        LedgerConflict: there is none.
        Unavailable, AccessDenied: the catalog does not answer, or refuses.
    """
    namespace = settings.catalog.namespace
    reader = Lake.of(settings).find_table(namespace, name)
    if reader is None:
        raise LedgerConflict(f"there is no table {'.'.join([*namespace, name])}", hint=NO_TABLE_HINT)
    return reader


def log_or_why(settings: Settings) -> tuple[Log | None, str]:
    """Kafka's log as it is now; or why it is not known, in one sentence."""
    try:
        return ask_kafka(settings), ""
    except NeptuneError as error:
        return None, error.primary
