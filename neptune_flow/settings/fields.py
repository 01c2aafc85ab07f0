"""Every setting, once: its name, default, meaning, unit and range. No reading and no checking of one against another.

A default is the text that the environment would hold, so documentation and code cannot differ. `python -m
neptune_flow.settings` prints them as a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo

from neptune_flow.settings.values import (
    MASK,
    BucketName,
    ByteCount,
    ContractPath,
    LogFormat,
    LogLevel,
    Name,
    Namespace,
    OptionalSecret,
    OptionalUrl,
    PassedThrough,
    Properties,
    Servers,
    StartFrom,
    TopicName,
    Url,
    format_bytes,
)

_DAY_S = 86_400
_MEMORY_BYTES_LEAST = 384 << 20
_MEMORY_BYTES_MOST = 64 * 2**30


class Doc(NamedTuple):
    """What a setting's documentation says."""

    name: str
    default: str
    allowed: str
    meaning: str
    secret: bool
    """Its value is never shown, and `<name>_FILE` may name a file that holds it."""


def setting(
    name: str,
    default: str,
    meaning: str,
    *,
    allowed: str = "",
    least: float | None = None,
    most: float | None = None,
    secret: bool = False,
) -> Any:
    """A field of a group of settings; `least` and `most` include themselves."""
    text = allowed or f"{least:,} to {most:,}"
    return Field(
        default=default,
        validation_alias=name,
        description=meaning,
        ge=least,
        le=most,
        json_schema_extra={"allowed": text, "secret": secret},
    )


class Group(BaseModel):
    """Base of the groups: frozen, and a default is validated like any value."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )

    @classmethod
    def docs(cls) -> Iterator[tuple[str, Doc]]:
        """The name of each field with its documentation, in order."""
        for field, info in cls.model_fields.items():
            yield field, _doc(info)


def _doc(info: FieldInfo) -> Doc:
    extra = info.json_schema_extra
    assert isinstance(extra, dict)  # noqa: S101 (set by `setting`)
    return Doc(
        name=str(info.validation_alias),
        default=str(info.default),
        allowed=str(extra["allowed"]),
        meaning=info.description or "",
        secret=bool(extra["secret"]),
    )


class Kafka(Group):
    """Where the messages come from."""

    bootstrap_servers: Servers = setting(
        "KAFKA_BOOTSTRAP_SERVERS", "kafka:9092", "Kafka brokers to ask first.", allowed="host:port, several with commas"
    )
    topic: TopicName = setting("KAFKA_TOPIC", "sessions", "The topic that is landed.", allowed="a topic name")
    group: Name = setting(
        "KAFKA_CONSUMER_GROUP",
        "neptune",
        "Consumer group under which offsets are published after each commit, for lag tools. Neptune itself resumes from "
        "the table.",
        allowed="any text without slash",
    )
    start_from: StartFrom = setting(
        "NEPTUNE_START_FROM",
        "earliest",
        "Where the very first start begins: the oldest message, the end of the log, the offsets that an earlier consumer "
        "of the group has committed, or the first message at or after a time. Later starts go on where the table ends.",
        allowed="earliest, latest, group, or a time such as 2025-01-31T00:00:00Z (without zone: UTC)",
    )
    group_mode: bool = setting(
        "NEPTUNE_GROUP_MODE",
        "false",
        "Whether `neptune run` shares the topic with the other processes of the consumer group, each of which lands what it is assigned.",
        allowed="true or false",
    )
    group_instance_id: str = setting(
        "NEPTUNE_GROUP_INSTANCE_ID",
        "",
        "In group mode: a name that a process keeps over its restarts, so that a restart within the session moves no partition. Each process needs its own.",
        allowed="any text without slash, or empty",
    )
    session_timeout_s: float = setting(
        "NEPTUNE_SESSION_TIMEOUT_S",
        "30",
        "In group mode: after so long without a heartbeat, seconds, a process counts as dead, and others get its partitions. Kafka's brokers allow 6 to 1800.",
        least=6,
        most=1800,
    )
    poll_messages_max: int = setting(
        "NEPTUNE_POLL_MESSAGES_MAX",
        "4000",
        "Messages taken from one Kafka partition at once, where so many wait. The fast validation has a fixed cost for each "
        "batch.",
        least=1,
        most=100_000,
    )
    properties: PassedThrough = setting(
        "NEPTUNE_KAFKA_PROPERTIES",
        "{}",
        "More properties of librdkafka (SASL, TLS, tuning), by their own names.",
        allowed='a JSON object, such as {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}',
        secret=True,
    )


class Catalog(Group):
    """Which table the messages land in, and who keeps it."""

    rest_url: Url = setting(
        "ICEBERG_REST_URL", "http://iceberg-rest:8181", "Iceberg REST catalog.", allowed="http(s)://host:port/path"
    )
    name: Name = setting("ICEBERG_CATALOG", "catalog", "Name of the catalog.", allowed="any text without slash")
    namespace: Namespace = setting(
        "ICEBERG_NAMESPACE", "default", "Namespace of the tables.", allowed="a name; dots separate levels"
    )
    table: Name = setting(
        "ICEBERG_TABLE",
        "raw_delivery_data",
        "Table of the rows. Rejects go to the table of this name with `_quarantine` behind it.",
        allowed="any text without slash",
    )
    properties: PassedThrough = setting(
        "NEPTUNE_CATALOG_PROPERTIES",
        "{}",
        "More properties of the PyIceberg catalog and its storage (another type of catalog, warehouse, OAuth2, SigV4, "
        "`s3.*`), by their own names; `auth.type` is what their file nests. With `warehouse` the catalog decides where tables lie.",
        allowed='a JSON object, such as {"type": "sql", "uri": "sqlite:////data/catalog.db", "warehouse": "file:///data"}',
        secret=True,
    )


class Minio(Group):
    """The object storage, where the catalog's tables lie in one."""

    endpoint: OptionalUrl = setting(
        "MINIO_ENDPOINT", "http://minio:9000", "S3 storage. Empty: AWS itself.", allowed="http(s)://host:port or empty"
    )
    access_key: OptionalSecret = setting(
        "MINIO_ACCESS_KEY",
        "admin",
        "Access key of the storage. Empty: what the AWS environment or the catalog provides.",
        allowed="any text or empty",
        secret=True,
    )
    secret_key: OptionalSecret = setting(
        "MINIO_SECRET_KEY", "password", "Secret key of the storage.", allowed="any text or empty", secret=True
    )
    bucket: BucketName = setting(
        "MINIO_BUCKET",
        "neptune",
        "Bucket of the tables, made where it is missing.",
        allowed="3 to 63 of a-z, 0-9, dot and hyphen",
    )


class Own(Group):
    """What Neptune does with the messages, and its limits."""

    log_level: LogLevel = setting(
        "LOG_LEVEL", "INFO", "Least level of the lines that are logged.", allowed="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: LogFormat = setting(
        "NEPTUNE_LOG_FORMAT",
        "auto",
        "Form of the log; auto means console on a terminal, JSON lines elsewhere.",
        allowed="auto, json or console",
    )
    http_port: int = setting(
        "NEPTUNE_HTTP_PORT",
        "8080",
        "Port of the status page `/`, `/livez`, `/readyz`, `/healthz`, `/status.json` and `/metrics`; 0 turns them off. Each process on one machine needs its own.",
        least=0,
        most=65_535,
    )
    http_host: Name = setting(
        "NEPTUNE_HTTP_HOST",
        "0.0.0.0",  # noqa: S104 - a container is reached from outside
        "Address that the port is opened on; 0.0.0.0 means all of IPv4, `::` all of IPv6. Whoever reaches it may read: there is no login.",
        allowed="an address of this machine",
    )
    http_samples: bool = setting(
        "NEPTUNE_HTTP_SAMPLES",
        "false",
        "Whether the page shows the values of recently refused messages; otherwise only place, reason and size.",
        allowed="true or false",
    )
    contract: ContractPath = setting(
        "NEPTUNE_CONTRACT",
        "neptune_flow.contract:DeliveryData",
        "The Pydantic model that decides which messages become rows.",
        allowed="package.module:Model",
    )
    kafka_columns: bool = setting(
        "NEPTUNE_KAFKA_COLUMNS",
        "true",
        "Whether rows carry `_kafka`: topic, partition, offset, timestamp and key of their message.",
        allowed="true or false",
    )
    extra_column: bool = setting(
        "NEPTUNE_EXTRA_COLUMN",
        "true",
        "Whether rows carry `_extra`: the fields of the message that the contract does not name, as JSON text.",
        allowed="true or false",
    )
    window_s: float = setting(
        "NEPTUNE_WINDOW_S", "60", "Length of an event-time window, seconds; its close commits.", least=1, most=_DAY_S
    )
    allowed_lateness_s: float = setting(
        "NEPTUNE_ALLOWED_LATENESS_S",
        "10",
        "How far the watermark stays behind the greatest event time, seconds.",
        least=0,
        most=_DAY_S - 1,
    )
    idle_timeout_s: float = setting(
        "NEPTUNE_IDLE_TIMEOUT_S",
        "30",
        "After so long without a message, seconds, the open window of a Kafka partition closes.",
        least=0.1,
        most=_DAY_S,
    )
    future_skew_s: float = setting(
        "NEPTUNE_FUTURE_SKEW_S",
        "300",
        "An event dated further ahead of now, seconds, is refused.",
        least=0,
        most=366 * _DAY_S,
    )
    commit_age_s_max: float = setting(
        "NEPTUNE_COMMIT_AGE_S_MAX",
        "120",
        "No message waits longer for its commit, seconds, even if its window stays open.",
        least=0.1,
        most=_DAY_S,
    )
    commit_rows_max: int = setting(
        "NEPTUNE_COMMIT_ROWS_MAX",
        "5000000",
        "A Kafka partition with so many rows waiting commits without waiting for its window: bounds what a crash reads again.",
        least=1,
        most=1_000_000_000,
    )
    memory_bytes_max: ByteCount = setting(
        "NEPTUNE_MEMORY_BYTES_MAX",
        "512MiB",
        "Memory of one worker process that Neptune plans its buffers for.",
        allowed=f"{format_bytes(_MEMORY_BYTES_LEAST)} to {format_bytes(_MEMORY_BYTES_MOST)}; bytes, KiB, MiB or GiB",
        least=_MEMORY_BYTES_LEAST,
        most=_MEMORY_BYTES_MOST,
    )
    value_bytes_max: ByteCount = setting(
        "NEPTUNE_VALUE_BYTES_MAX",
        "256KiB",
        "A message with a longer value is refused without being parsed: JSON of many small elements takes up to 900 times its size in memory.",
        allowed="64KiB to 64MiB; bytes, KiB, MiB or GiB",
        least=1 << 16,
        most=1 << 26,
    )
    snapshots_max: int = setting(
        "NEPTUNE_SNAPSHOTS_MAX",
        "100",
        "Own snapshots kept per table where its `history.expire.*` properties say nothing: bounds what each commit costs.",
        least=2,
        most=10_000,
    )
    start_wait_s_max: float = setting(
        "NEPTUNE_START_WAIT_S_MAX",
        "120",
        "How long the start waits for Kafka, storage, catalog and topic, seconds; 0, or at least one request's timeout.",
        least=0,
        most=_DAY_S,
    )
    retry_s_max: float = setting(
        "NEPTUNE_RETRY_S_MAX",
        "300",
        "How long an outage of Kafka, storage or catalog is sat out while running, seconds; 0, or at least one request's timeout.",
        least=0,
        most=_DAY_S,
    )
    request_timeout_s: float = setting(
        "NEPTUNE_REQUEST_TIMEOUT_S",
        "10",
        "How long one call to catalog or storage may take, seconds.",
        least=0.1,
        most=300,
    )
    drain_s_max: float = setting(
        "NEPTUNE_DRAIN_S_MAX",
        "30",
        "How long the end may take after SIGTERM or SIGINT, seconds; stay below the grace period of the platform.",
        least=1,
        most=3600,
    )


GROUPS: tuple[type[Group], ...] = (Kafka, Catalog, Minio, Own)


def all_docs() -> Iterator[Doc]:
    """The documentation of every setting."""
    for group in GROUPS:
        for _, doc in group.docs():
            yield doc


def shown(value: object) -> str:
    """A setting's value in a form that may be logged."""
    if isinstance(value, Properties):
        return ", ".join(sorted(value)) or "{}"
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ".".join(value)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
