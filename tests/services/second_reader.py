"""A reader of Iceberg tables that shares no code with PyIceberg: ClickHouse, inside this process (PyPI `chdb`)."""

from __future__ import annotations

import threading
from typing import Any

from tests.services.servers import Platform

_lock = threading.Lock()


class SecondReader:
    """Queries over a table of the platform, by its place in the object storage."""

    def __init__(self, platform: Platform, table: str, namespace: str = "default") -> None:
        storage = platform.storage
        address = f"{storage.endpoint}/{platform.bucket}/{namespace}/{table}"
        self._source = f"icebergS3('{address}', '{storage.access_key}', '{storage.secret_key}')"

    def query(self, select: str, tail: str = "") -> list[dict[str, Any]]:
        """`SELECT <select> FROM <the table> <tail>`, as one mapping for each row."""
        import chdb

        sql = f"SELECT {select} FROM {self._source} {tail} SETTINGS session_timezone = 'UTC'"  # noqa: S608 our own words
        with _lock:  # the engine is one for the process
            rows: list[dict[str, Any]] = chdb.query(sql, "ArrowTable").to_pylist()  # type: ignore[no-untyped-call]
        return rows

    def one(self, select: str, tail: str = "") -> dict[str, Any]:
        """The only row of a query."""
        (row,) = self.query(select, tail)
        return row
