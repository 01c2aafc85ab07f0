"""The lake: an Iceberg catalog and the storage behind it, opened with a limit on every call.

Any catalog that PyIceberg knows can be opened. What belongs here is what holds for all tables: opening, limits, the
checks of a start. What one table is and does is in `tables`. No retry lives here: whoever calls decides how long to
keep trying.

Limits, and why they are set by hand (Hive, Glue and DynamoDB catalogs keep those of their own clients):

- PyIceberg gives its HTTP session no timeout, and asks for the first token while the session is still being made. The
  first thing it does to any session is to set its headers, so that is where the timeout is set.
- `commit_table` of the REST catalog repeats itself after a refused token. Neptune's commit is sent once: the wrapper is
  left out there, and the look that follows refreshes the token.
- The SigV4 adapter repeats ten times by itself; Neptune sets that to none.
- The S3 client (`storage`) tries once, within the timeouts set here.
- A PostgreSQL catalog gets libpq's own limits in its address; SQLite waits five seconds for a lock by itself.
- Without a region, PyIceberg asks Amazon for the bucket's region, even where an endpoint says that the bucket is
  elsewhere.
"""

from __future__ import annotations

import functools
import inspect
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.fs
import requests
from pyiceberg.catalog import AVAILABLE_CATALOGS, Catalog, CatalogType, infer_catalog_type
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.rest.auth import OAuth2AuthManager, OAuth2TokenProvider
from pyiceberg.exceptions import NoSuchPropertyException, NotInstalledError
from pyiceberg.io import load_file_io
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.update import TableRequirement, TableUpdate

from neptune_flow.errors import SettingsError
from neptune_flow.iceberg.columns import FORMAT_VERSION
from neptune_flow.iceberg.faults import Faults
from neptune_flow.iceberg.reading import TableReader
from neptune_flow.iceberg.storage import Storage, s3_client
from neptune_flow.iceberg.tables import NEW_TABLE_PROPERTIES, SNAPSHOTS_MAX, LakeTable, ensure_table
from neptune_flow.settings import Settings

_CONNECT_TIMEOUT_S_MAX = 10.0
"""A server that does not take a connection for this long is away, however long its answers may take."""

_REGION = "us-east-1"
"""The region of a storage that is not Amazon's and names none: the one that S3 servers take for granted."""

_TOKEN_LIFETIME_S = 300
"""Taken where neither server nor properties tell how long a token is good: short, so that it is asked for too often."""

_INTEGER_PROPERTIES = frozenset({"refresh_margin", "expires_in"})


class Lake:
    """A catalog and its storage. Safe to use from several threads.

    All methods raise `Unavailable` where a service does not answer within the limits and `AccessDenied` where it
    refuses the credentials; both name the service and its address.
    """

    def __init__(self, catalog: Catalog, faults: Faults) -> None:
        self._catalog = catalog
        self._faults = faults

    @staticmethod
    def open(name: str, properties: Mapping[str, str], *, request_timeout_s: float) -> Lake:
        """Open a catalog by its PyIceberg properties.

        Args:
            name: the catalog's name.
            properties: PyIceberg's names: `uri`, `type`, `warehouse`, `s3.endpoint`, … A dot makes the nested
                properties of PyIceberg's file: `ssl.cabundle`, `auth.type`, `auth.oauth2.client_id`.
            request_timeout_s: limit of one HTTP request to the catalog, and of one to S3 where the properties name
                none.

        Raises:
            SettingsError: the properties contradict each other or name no known catalog.
            Unavailable, AccessDenied: the catalog was asked and did not answer, or refused.
        """
        faults = Faults(name, properties)
        complete = _with_limits(properties, request_timeout_s)
        with faults.during("opening the catalog"):
            try:
                return Lake(_open_catalog(name, complete, request_timeout_s), faults)
            except (ValueError, KeyError, ImportError, NotInstalledError, NoSuchPropertyException) as error:
                if faults.translate("", error) is not None:
                    raise
                raise SettingsError(
                    f"the catalog {name} cannot be opened", detail=faults.text(error), hint="check its properties"
                ) from None

    @staticmethod
    def of(settings: Settings) -> Lake:
        """Open the catalog that the settings name; raises as `open` does."""
        name, properties = settings.catalog.name, settings.catalog_properties()
        return Lake.open(name, properties, request_timeout_s=settings.request_timeout_s)

    def check_catalog(self, namespace: tuple[str, ...] = ("default",)) -> None:
        """Ask the catalog a cheap question; whether the namespace exists does not matter."""
        with self._faults.during("asking for a namespace"):
            self._catalog.namespace_exists(namespace)

    def check_storage(self, location: str) -> None:
        """Prove that objects under a location (`s3://bucket`, `file:///folder`) can be written and read.

        A small object of its own name is written, read back and removed. Where the credentials may not remove, it
        stays: Neptune itself never needs to.
        """
        path = f"{location.rstrip('/')}/_neptune-probe-{uuid.uuid4()}"
        content = path.encode()
        with self._faults.during(f"writing and reading {path}"):
            io = load_file_io(dict(self._catalog.properties), path)
            with io.new_output(path).create(overwrite=True) as output:
                output.write(content)
            with io.new_input(path).open() as source:
                found = source.read()
            if found != content:
                raise OSError(f"{path} was read back with other content than was written")
        try:
            io.delete(path)
        except Exception as error:
            if self._faults.translate("", error) is None:
                raise

    def ensure_bucket(self, bucket: str) -> None:
        """Create an S3 bucket where it is missing, with the endpoint and keys of the catalog's properties."""
        with self._faults.during(f"looking for the bucket {bucket}"):
            storage = s3_client(self._catalog.properties, None, may_create_buckets=True)
            if storage.get_file_info(bucket).type == pyarrow.fs.FileType.NotFound:
                storage.create_dir(bucket, recursive=False)

    def ensure_table(
        self,
        namespace: tuple[str, ...],
        name: str,
        schema: pa.Schema,
        *,
        day_column: str,
        location: str | None = None,
        properties: Mapping[str, str] | None = None,
        snapshots_max: int = SNAPSHOTS_MAX,
    ) -> LakeTable:
        """The table with these columns; namespace and table are created where they are missing.

        Any number of processes may call this at once. A table that exists is left as it is.

        Args:
            schema: the columns with their Arrow types; not nullable means required, the metadata `doc` documents a
                column.
            day_column: the column of type date that the table is partitioned by.
            location: where a new table keeps its files; the catalog decides where this is None.
            properties: table properties of a new table, beside and above Neptune's own.
            snapshots_max: how many of Neptune's own snapshots are kept where the table's properties do not say it.

        Raises:
            TableMismatch: the table exists and cannot take these columns (see `columns`).
            ContractError: a column has a type that no Iceberg type can hold.
        """
        reader = TableReader(self._catalog, self._faults, (*namespace, name))
        options = {**NEW_TABLE_PROPERTIES, **(properties or {}), "format-version": str(FORMAT_VERSION)}
        return ensure_table(
            reader, schema, day_column=day_column, location=location, properties=options, snapshots_max=snapshots_max
        )

    def find_table(self, namespace: tuple[str, ...], name: str) -> TableReader | None:
        """A table to read from, whatever its columns; None where there is none."""
        reader = TableReader(self._catalog, self._faults, (*namespace, name))
        return reader if reader.exists() else None


class _RestCatalog(RestCatalog):
    """PyIceberg's REST catalog with a limit on every request, and a commit that is sent once."""

    def __init__(self, name: str, timeout_s: tuple[float, float], properties: Mapping[str, Any]) -> None:
        self._timeout_s = timeout_s
        super().__init__(name, **properties)
        if "s3.endpoint" in self.properties:
            self.properties.setdefault("s3.region", _REGION)

    def _config_headers(self, session: requests.Session) -> None:
        # The session's own authorities would give way to those of REQUESTS_CA_BUNDLE.
        limited = functools.partial(session.request, timeout=self._timeout_s, verify=self._authorities)
        session.request = limited  # type: ignore[method-assign]
        super()._config_headers(session)

    @property
    def _authorities(self) -> str | bool:
        """The file of those whose certificates are trusted; True: those of the environment."""
        return cast(str, self.properties.get("ssl", {}).get("cabundle")) or True

    def _create_session(self) -> requests.Session:
        session = super()._create_session()
        if isinstance(self._auth_manager, OAuth2AuthManager):
            self._auth_manager.token_provider = _TokenProvider(
                self._auth_manager.token_provider, self._timeout_s, self._authorities
            )
        return session

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        once = inspect.unwrap(RestCatalog.commit_table)
        return cast(CommitTableResponse, once(self, table, requirements, updates))


class _TokenProvider(OAuth2TokenProvider):
    """PyIceberg's provider of OAuth2 tokens with a limit on its request, and the catalog's authorities."""

    def __init__(self, plain: OAuth2TokenProvider, timeout_s: tuple[float, float], authorities: str | bool) -> None:
        super().__init__(
            plain.client_id,
            plain.client_secret,
            plain.token_url,
            plain.scope,
            plain.refresh_margin,
            plain.expires_in,
        )
        self._timeout_s = timeout_s
        self._authorities = authorities

    def _refresh_token(self) -> None:
        scope = {"scope": self.scope} if self.scope else {}
        response = requests.post(
            self.token_url,
            data={"grant_type": "client_credentials", **scope},
            headers={"Authorization": self._client_secret_header},
            timeout=self._timeout_s,
            verify=self._authorities,
        )
        response.raise_for_status()
        answer = response.json()
        lifetime_s = int(answer.get("expires_in") or self.expires_in or _TOKEN_LIFETIME_S)
        self._token = answer["access_token"]
        self._expires_at = int(time.monotonic()) + lifetime_s - self.refresh_margin


def _open_catalog(name: str, properties: Mapping[str, str], request_timeout_s: float) -> Catalog:
    nested = _nested(properties)
    kind = CatalogType(properties["type"].lower()) if "type" in properties else infer_catalog_type(name, nested)
    if kind is CatalogType.REST:
        return _RestCatalog(name, (min(request_timeout_s, _CONNECT_TIMEOUT_S_MAX), request_timeout_s), nested)
    if kind is CatalogType.SQL:
        _make_sqlite_folder(properties["uri"])
        nested["uri"] = _limit_postgres(properties["uri"], request_timeout_s)
    if kind is None:
        raise ValueError("the properties name neither a type nor an address")
    return AVAILABLE_CATALOGS[kind](name, nested)


def _with_limits(properties: Mapping[str, str], request_timeout_s: float) -> dict[str, str]:
    if properties.get("snapshot-loading-mode", "all") != "all":
        raise SettingsError(
            f"snapshot-loading-mode={properties['snapshot-loading-mode']} is not possible",
            detail="Neptune reads its ledger from a snapshot's history",
            hint="leave it out, or set it to all",
        )
    limits = {
        "s3.connect-timeout": str(min(request_timeout_s, _CONNECT_TIMEOUT_S_MAX)),
        "s3.request-timeout": str(request_timeout_s),
        "rest.sigv4.max-retries": "0",
        "pool_pre_ping": "true",
    }
    on_s3 = any(name.startswith("s3.") for name in properties) or properties.get("warehouse", "").startswith("s3")
    if on_s3:
        limits["py-io-impl"] = f"{Storage.__module__}.{Storage.__qualname__}"
    region = {"s3.region": _REGION} if "s3.endpoint" in properties and "client.region" not in properties else {}
    return {**limits, **region, **properties}


def _nested(properties: Mapping[str, str]) -> dict[str, Any]:
    """The properties with `auth.…` and `ssl.…` as the nested mappings that PyIceberg takes."""
    result: dict[str, Any] = {}
    for name, value in properties.items():
        *path, last = name.split(".") if name.startswith(("auth.", "ssl.")) and name != "auth.manager" else (name,)
        place = result
        for part in path:
            place = place.setdefault(part, {})
        place[last] = int(value) if last in _INTEGER_PROPERTIES else value
    return result


def _limit_postgres(uri: str, timeout_s: float) -> str:
    """The address with libpq's limits on connecting and on a peer that fell silent, unless it has its own."""
    if not re.match(r"postgresql(\+psycopg2?)?://", uri) or "connect_timeout=" in uri:
        return uri
    limits = f"connect_timeout={max(round(timeout_s), 2)}&tcp_user_timeout={round(timeout_s * 1000)}"
    return f"{uri}{'&' if '?' in uri else '?'}{limits}"


def _make_sqlite_folder(uri: str) -> None:
    if uri.startswith("sqlite") and (path := uri.partition(":///")[2].split("?", 1)[0]) and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
