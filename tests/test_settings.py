"""Settings: every name, default and range; every wrong one is told at once, and no secret ever is."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from neptune_flow.errors import SettingsError
from neptune_flow.settings import Settings, Storage, looks_secret, markdown
from neptune_flow.settings.fields import all_docs
from neptune_flow.settings.values import secrets_in

PLANTED = "hunter2-Zx9"
SQLITE = '{"type": "sql", "uri": "sqlite:////data/catalog.db", "warehouse": "file:///data/lake"}'
DOCUMENTED = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "KAFKA_TOPIC": "sessions",
    "KAFKA_CONSUMER_GROUP": "neptune",
    "ICEBERG_REST_URL": "http://iceberg-rest:8181",
    "ICEBERG_CATALOG": "catalog",
    "ICEBERG_NAMESPACE": "default",
    "ICEBERG_TABLE": "raw_delivery_data",
    "MINIO_ENDPOINT": "http://minio:9000",
    "MINIO_ACCESS_KEY": "admin",
    "MINIO_SECRET_KEY": "password",
    "MINIO_BUCKET": "neptune",
    "LOG_LEVEL": "INFO",
    "NEPTUNE_WINDOW_S": "60",
    "NEPTUNE_ALLOWED_LATENESS_S": "10",
    "NEPTUNE_IDLE_TIMEOUT_S": "30",
    "NEPTUNE_FUTURE_SKEW_S": "300",
    "NEPTUNE_COMMIT_AGE_S_MAX": "120",
}


def problem(environ: Mapping[str, str]) -> str:
    """The text of the error that this environment causes."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    return str(caught.value)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    defaults = {doc.name: doc.default for doc in all_docs()}
    assert DOCUMENTED.items() <= defaults.items()
    settings = Settings.load({})
    assert (settings.kafka.bootstrap_servers, settings.kafka.topic, settings.kafka.group) == (
        "kafka:9092",
        "sessions",
        "neptune",
    )
    assert (settings.catalog.name, settings.catalog.namespace, settings.catalog.table) == (
        "catalog",
        ("default",),
        "raw_delivery_data",
    )
    assert (settings.window_s, settings.idle_timeout_s, settings.memory_bytes_max) == (60, 30, 512 * 2**20)
    assert settings.kafka_columns is True


def test_every_default_given_as_text_is_the_same_as_no_text() -> None:
    given = {doc.name: doc.default for doc in all_docs()}
    assert Settings.load(given).describe() == Settings.load({}).describe()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load({}).window_s = 5


def test_settings_can_travel_to_another_worker() -> None:
    settings = Settings.load({"NEPTUNE_KAFKA_PROPERTIES": '{"a.b": "c"}'})
    twin = pickle.loads(pickle.dumps(settings))  # noqa: S301
    assert twin.kafka.properties == settings.kafka.properties
    assert twin.catalog_properties() == settings.catalog_properties()


@pytest.mark.parametrize(
    ("text", "count"),
    [("536870912", 2**29), ("512MiB", 2**29), ("1GiB", 2**30), ("400 mib", 400 * 2**20), ("500MB", 500_000_000)],
)
def test_memory_is_given_in_bytes_or_units(text: str, count: int) -> None:
    assert Settings.load({"NEPTUNE_MEMORY_BYTES_MAX": text}).memory_bytes_max == count


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("Earliest", "earliest"),
        ("latest", "latest"),
        ("group", "group"),
        ("2025-01-31T12:00:00+02:00", datetime(2025, 1, 31, 10, tzinfo=UTC)),
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
    ],
)
def test_the_start_is_a_word_or_a_time(text: str, start: object) -> None:
    assert Settings.load({"NEPTUNE_START_FROM": text}).kafka.start_from == start


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:0"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092,,b:9092"),
        ("KAFKA_TOPIC", ""),
        ("KAFKA_TOPIC", "a b"),
        ("KAFKA_TOPIC", ".."),
        ("KAFKA_CONSUMER_GROUP", ""),
        ("ICEBERG_REST_URL", "iceberg-rest:8181"),
        ("ICEBERG_REST_URL", "http://"),
        ("ICEBERG_REST_URL", "http://h:99999"),
        ("ICEBERG_NAMESPACE", "a..b"),
        ("ICEBERG_TABLE", "a/b"),
        ("MINIO_ENDPOINT", "minio"),
        ("MINIO_BUCKET", "Neptune"),
        ("LOG_LEVEL", "LOUD"),
        ("NEPTUNE_LOG_FORMAT", "xml"),
        ("NEPTUNE_CONTRACT", "no_model"),
        ("NEPTUNE_CONTRACT", "a.b:C.d"),
        ("NEPTUNE_KAFKA_COLUMNS", "perhaps"),
        ("NEPTUNE_WINDOW_S", "0.5"),
        ("NEPTUNE_WINDOW_S", ""),
        ("NEPTUNE_WINDOW_S", "nan"),
        ("NEPTUNE_WINDOW_S", "1 minute"),
        ("NEPTUNE_IDLE_TIMEOUT_S", "0"),
        ("NEPTUNE_ALLOWED_LATENESS_S", "86400"),
        ("NEPTUNE_ALLOWED_LATENESS_S", "-1"),
        ("NEPTUNE_FUTURE_SKEW_S", "inf"),
        ("NEPTUNE_COMMIT_ROWS_MAX", "0"),
        ("NEPTUNE_COMMIT_ROWS_MAX", "1.5"),
        ("NEPTUNE_MEMORY_BYTES_MAX", "100MiB"),
        ("NEPTUNE_MEMORY_BYTES_MAX", "1 barrel"),
        ("NEPTUNE_SNAPSHOTS_MAX", "1"),
        ("NEPTUNE_POLL_MESSAGES_MAX", "0"),
        ("NEPTUNE_START_FROM", "now"),
        ("NEPTUNE_START_FROM", "2025-13-01"),
    ],
)
def test_a_value_out_of_range_is_told_with_name_value_and_what_is_allowed(name: str, text: str) -> None:
    told = problem({name: text})
    doc = next(doc for doc in all_docs() if doc.name == name)
    assert f"{name} is {text!r}; allowed: {doc.allowed}" in told


def test_all_problems_are_told_at_once() -> None:
    told = problem({"NEPTUNE_WINDOW_S": "0", "KAFKA_TOPIC": "", "NEPTUNE_WINDOWS": "1", "MINIO_BUCKET": "X"})
    assert told.startswith("4 settings are wrong")
    assert all(name in told for name in ("NEPTUNE_WINDOW_S", "KAFKA_TOPIC", "NEPTUNE_WINDOWS", "MINIO_BUCKET"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("NEPTUNE_WINDOWS_S", "NEPTUNE_WINDOW_S"),
        ("NEPTUNE_COMMIT_AGE_MAX_S", "NEPTUNE_COMMIT_AGE_S_MAX"),
        ("NEPTUNE_KAFKA_TOPIC", "KAFKA_TOPIC"),
        ("NEPTUNE_KAFKA_PROPERTIES_FILES", "NEPTUNE_KAFKA_PROPERTIES_FILE"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_known_one(name: str, meant: str) -> None:
    assert problem({name: "1"}).startswith(f"{name} is no setting; meant {meant}?")


def test_an_unknown_name_like_no_other_is_told_alone() -> None:
    assert problem({"NEPTUNE_QQ": "1"}).startswith("NEPTUNE_QQ is no setting\n")


@pytest.mark.parametrize(
    "name",
    [
        "NEPTUNE_SERVICE_HOST",
        "NEPTUNE_SERVICE_PORT_HTTP",
        "NEPTUNE_PORT",
        "NEPTUNE_PORT_80_TCP_ADDR",
        "NEPTUNE_UI_PORT",
    ],
)
def test_what_kubernetes_adds_beside_a_service_called_neptune_is_no_setting(name: str) -> None:
    assert Settings.load({name: "tcp://10.0.0.1:80"}).window_s == 60


def test_names_of_others_are_left_alone() -> None:
    assert Settings.load({"KAFKA_HEAP_OPTS": "x", "MINIO_ROOT_USER": "y", "PATH": "z"}).kafka.topic == "sessions"


def test_the_rest_catalog_on_minio_is_reached_by_settings_alone() -> None:
    settings = Settings.load(
        {"MINIO_ENDPOINT": "http://s:9000/", "MINIO_SECRET_KEY": PLANTED, "MINIO_BUCKET": "bronze"}
    )
    assert settings.catalog_properties() == {
        "type": "rest",
        "uri": "http://iceberg-rest:8181",
        "s3.endpoint": "http://s:9000",
        "s3.access-key-id": "admin",
        "s3.secret-access-key": PLANTED,
    }
    assert settings.storage == Storage("http://s:9000", "bronze")
    assert settings.table_location("t_quarantine") == "s3://bronze/default/t_quarantine"


def test_a_sqlite_catalog_beside_a_local_folder_needs_no_object_storage() -> None:
    settings = Settings.load({"NEPTUNE_CATALOG_PROPERTIES": SQLITE})
    assert settings.storage is None
    assert settings.table_location("t") is None
    assert settings.catalog_properties() == {
        "type": "sql",
        "uri": "sqlite:////data/catalog.db",
        "warehouse": "file:///data/lake",
    }


def test_a_sql_catalog_without_warehouse_keeps_its_tables_in_the_bucket() -> None:
    settings = Settings.load({"NEPTUNE_CATALOG_PROPERTIES": '{"type": "sql", "uri": "sqlite:////c.db"}'})
    assert settings.catalog_properties()["warehouse"] == "s3://neptune"
    assert settings.storage == Storage("http://minio:9000", "neptune")


def test_a_rest_catalog_with_a_named_warehouse_decides_where_tables_lie() -> None:
    settings = Settings.load({"NEPTUNE_CATALOG_PROPERTIES": '{"warehouse": "analytics"}'})
    assert settings.storage == Storage("http://minio:9000", None)
    assert settings.table_location("t") is None


def test_with_empty_keys_and_endpoint_aws_itself_is_asked() -> None:
    settings = Settings.load({"MINIO_ENDPOINT": "", "MINIO_ACCESS_KEY": "", "MINIO_SECRET_KEY": ""})
    assert settings.storage == Storage(None, "neptune")
    names = settings.catalog_properties().keys()
    assert not names & {"s3.endpoint", "s3.access-key-id", "s3.secret-access-key"}


def test_properties_with_dots_hyphens_and_underscores_pass_through_unchanged() -> None:
    catalog = (
        '{"rest.sigv4-enabled": true, "header.X-My_Name": "v", "rest-page-size": 50,'
        ' "auth.type": "oauth2", "auth.oauth2.client_secret": "s"}'
    )
    settings = Settings.load(
        {
            "NEPTUNE_CATALOG_PROPERTIES": catalog,
            "NEPTUNE_KAFKA_PROPERTIES": '{"sasl.mechanism": "PLAIN", "fetch.queue.backoff.ms": 5, "ssl.enable": false}',
        }
    )
    properties = settings.catalog_properties()
    assert properties["rest.sigv4-enabled"] == "true"
    assert properties["header.X-My_Name"] == "v"
    assert properties["rest-page-size"] == "50"
    assert (properties["auth.type"], properties["auth.oauth2.client_secret"]) == ("oauth2", "s")
    assert settings.kafka.properties == {
        "sasl.mechanism": "PLAIN",
        "fetch.queue.backoff.ms": "5",
        "ssl.enable": "false",
    }


@pytest.mark.parametrize(
    "name",
    [
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "isolation.level",
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "enable.partition.eof",
        "group.protocol",
        "bootstrap.servers",
        "group.id",
    ],
)
def test_a_kafka_property_that_neptune_must_fix_is_refused_by_name(name: str) -> None:
    assert f"NEPTUNE_KAFKA_PROPERTIES holds {name}" in problem({"NEPTUNE_KAFKA_PROPERTIES": f'{{"{name}": "x"}}'})


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"NEPTUNE_CATALOG_PROPERTIES": '{"uri": "http://h"}', "ICEBERG_REST_URL": "http://h"}, "ICEBERG_REST_URL"),
        ({"NEPTUNE_CATALOG_PROPERTIES": '{"type": "hive"}', "ICEBERG_REST_URL": "http://h"}, "type 'hive'"),
        ({"NEPTUNE_CATALOG_PROPERTIES": '{"type": "sql"}'}, "without uri"),
        ({"NEPTUNE_CATALOG_PROPERTIES": '{"py-io-impl": "x"}'}, "py-io-impl"),
        ({"NEPTUNE_CATALOG_PROPERTIES": '{"s3.endpoint": "x"}', "MINIO_ENDPOINT": "http://h"}, "s3.endpoint"),
        ({"NEPTUNE_CATALOG_PROPERTIES": '{"warehouse": "s3://a/b"}', "MINIO_BUCKET": "other"}, "MINIO_BUCKET"),
        ({"MINIO_ACCESS_KEY": ""}, "both or neither"),
        ({"NEPTUNE_RETRY_S_MAX": "5"}, "NEPTUNE_RETRY_S_MAX is 5, less than NEPTUNE_REQUEST_TIMEOUT_S, 10"),
        ({"NEPTUNE_DRAIN_S_MAX": "5"}, "NEPTUNE_DRAIN_S_MAX"),
    ],
)
def test_a_contradiction_is_told_with_both_names(environ: dict[str, str], words: str) -> None:
    assert words in problem(environ)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ('{"a": null}', "property 'a'"),
        ('{"a": "1", "a": "2"}', "names a property twice"),
        ('{"a": {"b": "c"}}', "property 'a'"),
    ],
)
def test_properties_that_are_no_flat_json_object_are_refused(text: str, words: str) -> None:
    assert words in problem({"NEPTUNE_KAFKA_PROPERTIES": text})


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{PLANTED}\n")
    (tmp_path / "kafka.json").write_text(f'{{"sasl.password": "{PLANTED}"}}')
    settings = Settings.load(
        {
            "MINIO_SECRET_KEY_FILE": str(tmp_path / "key"),
            "NEPTUNE_KAFKA_PROPERTIES": '{"sasl.username": "n"}',
            "NEPTUNE_KAFKA_PROPERTIES_FILE": str(tmp_path / "kafka.json"),
        }
    )
    assert settings.catalog_properties()["s3.secret-access-key"] == PLANTED
    assert settings.kafka.properties["sasl.password"] == PLANTED
    assert settings.kafka.properties["sasl.username"] == "n"


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(PLANTED)
    told = problem({"MINIO_SECRET_KEY": "x", "MINIO_SECRET_KEY_FILE": str(tmp_path / "key")})
    assert "MINIO_SECRET_KEY and MINIO_SECRET_KEY_FILE are both given" in told


def test_a_property_given_by_text_and_by_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p").write_text('{"sasl.password": "x"}')
    environ = {
        "NEPTUNE_KAFKA_PROPERTIES": '{"sasl.password": "y"}',
        "NEPTUNE_KAFKA_PROPERTIES_FILE": str(tmp_path / "p"),
    }
    assert "both hold sasl.password" in problem(environ)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * (2**20 + 1)])
def test_a_secret_file_that_cannot_be_read_is_told_with_its_path(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    told = problem({"MINIO_ACCESS_KEY_FILE": str(path)})
    assert f"MINIO_ACCESS_KEY_FILE: file {path} cannot be read" in told


def test_only_secrets_have_a_file_form() -> None:
    assert "NEPTUNE_WINDOW_S_FILE is no setting" in problem({"NEPTUNE_WINDOW_S_FILE": "/x"})


def test_no_secret_is_in_a_repr_a_description_or_the_table() -> None:
    settings = Settings.load(
        {
            "MINIO_ACCESS_KEY": PLANTED,
            "MINIO_SECRET_KEY": PLANTED,
            "NEPTUNE_KAFKA_PROPERTIES": f'{{"sasl.password": "{PLANTED}"}}',
            "NEPTUNE_CATALOG_PROPERTIES": f'{{"credential": "n:{PLANTED}", "uri": "http://n:{PLANTED}@h"}}',
        }
    )
    assert PLANTED not in repr(settings) + str(settings) + str(settings.describe()) + markdown()
    assert "sasl.password" in repr(settings)


@pytest.mark.parametrize(
    "environ",
    [
        {"NEPTUNE_KAFKA_PROPERTIES": f'{{"sasl.password": "{PLANTED}"'},
        {"NEPTUNE_KAFKA_PROPERTIES": f'{{"sasl.password": ["{PLANTED}"]}}'},
        {"NEPTUNE_KAFKA_PROPERTIES": f'{{"sasl.password": "{PLANTED}", "group.id": "{PLANTED}"}}'},
        {"NEPTUNE_CATALOG_PROPERTIES": PLANTED},
        {"ICEBERG_REST_URL": f"http://n:{PLANTED}@h"},
        {"ICEBERG_REST_URL": f"ftp://n:{PLANTED}@h"},
        {"MINIO_ENDPOINT": f"n:{PLANTED}@h"},
        {"KAFKA_BOOTSTRAP_SERVERS": f"n:{PLANTED}@h:9092"},
        {"MINIO_ACCESS_KEY": "", "MINIO_SECRET_KEY": PLANTED},
    ],
)
def test_no_error_shows_a_secret(environ: dict[str, str]) -> None:
    told = problem(environ)
    assert PLANTED not in told
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    assert PLANTED not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_the_secrets_to_mask_are_keys_secret_properties_and_passwords_in_addresses_but_no_public_default() -> None:
    settings = Settings.load(
        {
            "MINIO_SECRET_KEY": "key-one",
            "NEPTUNE_KAFKA_PROPERTIES": '{"sasl.password": "two", "sasl.username": "shown"}',
            "NEPTUNE_CATALOG_PROPERTIES": '{"auth.oauth2.client_secret": "three", "uri": "postgresql://n:four@h/d"}',
        }
    )
    assert settings.secrets() == {"key-one", "two", "three", "four"}
    assert Settings.load({}).secrets() == frozenset()


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("credential", "client:one", {"client:one", "one"}),
        ("header.Authorization", "Bearer one", {"Bearer one", "one"}),
        ("uri", "postgresql://n:o%2Fne@h/d?sslmode=require&password=two", {"o%2Fne", "o/ne", "two"}),
        ("uri", "http://h:8181/path", set()),
        ("warehouse", "s3://[broken", set()),
    ],
)
def test_of_a_property_every_form_of_its_secret_is_masked(name: str, value: str, secrets: set[str]) -> None:
    assert set(secrets_in({name: value})) == secrets


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "s3.secret-access-key",
        "s3.access-key-id",
        "s3.session-token",
        "credential",
        "adls.account-key",
        "adls.connection-string",
        "header.Authorization",
        "header.X-Api-Key",
        "sasl.oauthbearer.client.secret",
    ],
)
def test_names_of_secrets_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["sasl.username", "ssl.ca.location", "ssl.key.location", "uri", "warehouse", "type"])
def test_names_of_other_properties_do_not(name: str) -> None:
    assert not looks_secret(name)


def test_the_documentation_table_has_every_setting_once() -> None:
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    assert len(rows) == len(list(all_docs()))
    assert all(row.count("|") == 5 for row in rows)


def test_what_nobody_set_is_told_as_a_default_and_nothing_else() -> None:
    assert all(s.is_default for s in Settings.load({}).describe())
    changed = Settings.load({"NEPTUNE_WINDOW_S": "5", "NEPTUNE_MEMORY_BYTES_MAX": "1GiB", "KAFKA_TOPIC": "sessions"})
    assert [s.name for s in changed.describe() if not s.is_default] == ["NEPTUNE_WINDOW_S", "NEPTUNE_MEMORY_BYTES_MAX"]
