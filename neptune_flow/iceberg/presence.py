"""Catalog and storage looked at from outside: what is there, what a start would make. Nothing is written, not even a probe.

`Lake` opens with the intention to land: an SQL catalog makes its tables, a SQLite one its folder. Here neither happens.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.fs

from neptune_flow.errors import AccessDenied, Unavailable
from neptune_flow.iceberg.catalog import Lake, _with_limits
from neptune_flow.iceberg.faults import Faults, redact_address
from neptune_flow.iceberg.storage import s3_client
from neptune_flow.settings import Settings


def look_at_catalog(settings: Settings) -> tuple[Lake | None, str]:
    """The catalog and what is to be said of it; None where it is a SQLite file that is not there yet.

    Raises:
        SettingsError: its properties contradict each other.
        Unavailable, AccessDenied: it does not answer, or refuses.
    """
    uri = settings.catalog_properties().get("uri", "")
    where = f"{settings.catalog_type} catalog {redact_address(uri)}".strip()
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return None, f"{where}: not there yet, the start makes it"
    properties = {**settings.catalog_properties(), "init_catalog_tables": "false"}
    lake = Lake.open(settings.catalog.name, properties, request_timeout_s=settings.request_timeout_s)
    lake.check_catalog(settings.catalog.namespace)
    return lake, where


def look_at_storage(settings: Settings) -> str:
    """What is to be said of the place where the tables lie.

    Raises:
        Unavailable, AccessDenied: it does not answer, refuses, or could not be written to.
    """
    storage = settings.storage
    if storage is None:
        return _look_at_folder(settings.catalog.properties.get("warehouse", ""))
    where = storage.endpoint or "AWS S3"
    if storage.bucket is None:
        return f"{where}: the catalog alone knows the bucket, and it is asked with the table"
    properties = _with_limits(settings.catalog_properties(), settings.request_timeout_s)
    with Faults(settings.catalog.name, properties).during(f"looking for the bucket {storage.bucket}"):
        client = s3_client(properties, storage.bucket)
        found = client.get_file_info(storage.bucket).type
        if found == pyarrow.fs.FileType.NotFound:
            return f"{where}: bucket {storage.bucket} is not there yet, the start makes it"
        client.get_file_info("/".join([storage.bucket, *settings.catalog.namespace, settings.catalog.table]))
    return f"{where}, bucket {storage.bucket}"


def _look_at_folder(warehouse: str) -> str:
    parts = urlsplit(warehouse)
    if parts.scheme not in ("", "file") or not warehouse:
        return f"{redact_address(warehouse) or 'where the catalog says'}: asked with the table"
    folder = Path(parts.path)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise Unavailable(f"{there} is no folder", hint="correct the property warehouse of NEPTUNE_CATALOG_PROPERTIES")
    if not os.access(there, os.W_OK | os.X_OK):
        raise AccessDenied(f"the folder {there} may not be written to", hint="correct its owner or its permissions")
    return f"folder {folder}" + ("" if there == folder else ": not there yet, the start makes it")


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite catalog; None of any other."""
    path = uri.partition(":///")[2].split("?", 1)[0] if uri.startswith("sqlite") else ""
    return Path(path) if path and path != ":memory:" else None
