"""Opening a lake: limits on every call, checks that prove something, errors that say which service and where."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neptune_flow.errors import AccessDenied, SettingsError, Unavailable
from neptune_flow.iceberg import Lake
from neptune_flow.iceberg.catalog import _limit_postgres, _nested, _with_limits
from neptune_flow.settings import Settings
from tests.iceberg.worlds import NAMESPACE, SCHEMA, land, offsets, open_lake, open_table, properties

TIMEOUT_S = 0.5
PATIENCE_S = 20.0


class Answers(BaseHTTPRequestHandler):
    """An HTTP server whose answers a test chooses by path: a status, or None for silence."""

    statuses: dict[str, int | None]
    seen: list[tuple[str, str]]
    done: threading.Event

    def do_GET(self) -> None:
        self.seen.append((self.command, self.path))
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        status = next((s for part, s in self.statuses.items() if part in self.path), 200)
        if status is None:
            self.done.wait(PATIENCE_S)
            return
        body = json.dumps({"defaults": {}, "overrides": {}, "access_token": "t", "token_type": "bearer"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815
    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def http_server(statuses: dict[str, int | None]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    done = threading.Event()
    handler = type("Handler", (Answers,), {"statuses": statuses, "seen": [], "done": done})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.seen  # type: ignore[attr-defined]
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()


def open_rest(uri: str, **more: str) -> Lake:
    return Lake.open("rest", {"uri": uri, "type": "rest", **more}, request_timeout_s=TIMEOUT_S)


@pytest.mark.parametrize(
    ("silent", "more"),
    [
        ("/v1/config", {}),
        ("/v1/oauth/tokens", {"credential": "user:geheim"}),
        ("/token", {"auth.type": "oauth2", "auth.oauth2.client_id": "user", "auth.oauth2.client_secret": "geheim"}),
    ],
)
def test_a_server_that_never_answers_is_given_up_after_the_limit(silent: str, more: dict[str, str]) -> None:
    with http_server({silent: None}) as (uri, seen):
        token = {"auth.oauth2.token_url": f"{uri}/token"} if "auth.type" in more else {}
        began = time.monotonic()
        with pytest.raises(Unavailable, match=f"rest at {uri}") as gone:
            open_rest(uri, **more, **token)
    assert time.monotonic() - began < PATIENCE_S / 2
    assert sum(silent in path for _, path in seen) == 1
    assert "geheim" not in str(gone.value)


def test_every_later_call_has_the_limit_too() -> None:
    with http_server({"/v1/namespaces": None}) as (uri, _):
        lake = open_rest(uri)
        with pytest.raises(Unavailable, match="asking for a namespace"):
            lake.check_catalog()


def test_a_port_where_nothing_listens_is_reported_with_its_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unavailable, match=f"the catalog rest at {uri} does not answer"):
        open_rest(uri)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_request_is_told_as_denied_access(status: int) -> None:
    with http_server({"/token": status}) as (uri, _), pytest.raises(AccessDenied, match="refuses access") as denied:
        open_rest(
            uri,
            **{
                "auth.type": "oauth2",
                "auth.oauth2.token_url": f"{uri}/token",
                "auth.oauth2.client_id": "user",
                "auth.oauth2.client_secret": "geheim",
            },
        )
    assert "geheim" not in str(denied.value)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_told_from_an_absent_server(status: int) -> None:
    with http_server({"/v1/config": status}) as (uri, _), pytest.raises(AccessDenied, match="refuses access"):
        open_rest(uri, token="geheim")


def test_a_server_that_is_no_catalog_is_reported_as_such() -> None:
    with http_server({"/v1/config": 404}) as (uri, _), pytest.raises(Unavailable) as gone:
        open_rest(uri)
    assert "Iceberg REST catalog" in gone.value.hint


def test_a_failing_server_is_unavailable() -> None:
    with http_server({"/v1/config": 503}) as (uri, _), pytest.raises(Unavailable, match="does not answer"):
        open_rest(uri)


def test_the_password_of_an_address_is_not_in_the_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match=f"rest at http://127.0.0.1:{port} does not answer") as gone:
        open_rest(f"http://user:geheim@127.0.0.1:{port}")
    assert "geheim" not in str(gone.value)


def test_a_catalog_of_an_unknown_kind_is_an_error_of_the_settings() -> None:
    with pytest.raises(SettingsError, match="cannot be opened"):
        Lake.open("lake", {"uri": "ftp://nowhere"}, request_timeout_s=5)
    with pytest.raises(SettingsError, match="cannot be opened"):
        Lake.open("lake", {"type": "other", "uri": "http://nowhere"}, request_timeout_s=5)
    with pytest.raises(SettingsError, match="cannot be opened"):
        Lake.open("lake", {}, request_timeout_s=5)
    with pytest.raises(SettingsError, match="cannot be opened"):
        Lake.open("lake", {"type": "hive", "uri": "thrift://127.0.0.1:1"}, request_timeout_s=5)


def test_a_snapshot_loading_mode_that_hides_history_is_an_error_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="snapshot-loading-mode=refs"):
        Lake.open("lake", {**properties(tmp_path), "snapshot-loading-mode": "refs"}, request_timeout_s=5)


def test_properties_with_dots_become_the_nested_ones_of_pyiceberg() -> None:
    assert _nested(
        {"ssl.cabundle": "/ca", "auth.type": "oauth2", "auth.oauth2.refresh_margin": "30", "s3.endpoint": "http://x"}
    ) == {
        "ssl": {"cabundle": "/ca"},
        "auth": {"type": "oauth2", "oauth2": {"refresh_margin": 30}},
        "s3.endpoint": "http://x",
    }


def test_storage_gets_limits_and_a_region_unless_the_properties_have_them() -> None:
    assert _with_limits({"s3.endpoint": "http://x"}, 30) == {
        "s3.endpoint": "http://x",
        "s3.region": "us-east-1",
        "s3.connect-timeout": "10.0",
        "s3.request-timeout": "30",
        "rest.sigv4.max-retries": "0",
        "pool_pre_ping": "true",
        "py-io-impl": "neptune_flow.iceberg.storage.Storage",
    }
    assert "py-io-impl" not in _with_limits({"warehouse": "gs://bucket"}, 30)
    assert _with_limits({"s3.endpoint": "http://x", "py-io-impl": "my.own"}, 30)["py-io-impl"] == "my.own"
    from_settings = _with_limits(Settings.load({}).catalog_properties(), 30)
    assert from_settings["py-io-impl"] == "neptune_flow.iceberg.storage.Storage"
    assert _with_limits({"s3.region": "eu", "s3.request-timeout": "7"}, 30)["s3.region"] == "eu"
    assert _with_limits({"s3.request-timeout": "7"}, 30)["s3.request-timeout"] == "7"
    assert "s3.region" not in _with_limits({}, 30)


def test_a_postgres_catalog_gets_limits_unless_its_address_has_them() -> None:
    limits = "connect_timeout=30&tcp_user_timeout=30000"
    assert _limit_postgres("postgresql://u:p@db/iceberg", 30) == f"postgresql://u:p@db/iceberg?{limits}"
    assert _limit_postgres("postgresql+psycopg://db/x?sslmode=require", 30) == (
        f"postgresql+psycopg://db/x?sslmode=require&{limits}"
    )
    for other in ("postgresql://db/x?connect_timeout=5", "postgresql+asyncpg://db/x", "sqlite:///x"):
        assert _limit_postgres(other, 30) == other


def test_the_folder_of_a_sqlite_catalog_is_made(tmp_path: Path) -> None:
    open_lake(tmp_path / "a" / "b").check_catalog()
    assert (tmp_path / "a" / "b" / "catalog.db").exists()


def test_checks_of_a_lake_that_is_well_pass_and_leave_nothing(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    lake.check_catalog(NAMESPACE)
    lake.check_storage(f"file://{tmp_path}/warehouse")
    assert list((tmp_path / "warehouse").iterdir()) == []


def test_many_processes_may_create_the_same_table_at_once(tmp_path: Path) -> None:
    open_lake(tmp_path)
    lakes = [open_lake(tmp_path) for _ in range(6)]
    start = threading.Barrier(6)

    def create(lake: Lake) -> None:
        start.wait(PATIENCE_S)
        open_table(lake)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(create, lakes))
    for i, lake in enumerate(lakes):
        land(open_table(lake), i, 1)
    assert offsets(open_table(lakes[0])) == list(range(6))


def test_a_table_is_found_only_where_it_is(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    assert lake.find_table(NAMESPACE, "events") is None
    open_table(lake)
    found = lake.find_table(NAMESPACE, "events")
    assert found is not None
    assert found.to_arrow().schema.names == SCHEMA.names
