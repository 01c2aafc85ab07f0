"""What settings may not say together. Each check names the settings, their values and what is allowed; none reads anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neptune_flow.settings import Settings

_KAFKA_BY_SETTING = {
    "bootstrap.servers": "KAFKA_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "KAFKA_BOOTSTRAP_SERVERS",
    "group.id": "KAFKA_CONSUMER_GROUP",
    "group.instance.id": "NEPTUNE_GROUP_INSTANCE_ID",
    "session.timeout.ms": "NEPTUNE_SESSION_TIMEOUT_S",
}
_KAFKA_FIXED = {
    "auto.offset.reset": "an offset that is gone must be seen, not jumped over",
    "enable.auto.commit": "offsets are published after a commit, and only then",
    "auto.commit.enable": "offsets are published after a commit, and only then",
    "auto.commit.interval.ms": "offsets are published after a commit, and only then",
    "enable.auto.offset.store": "offsets are published after a commit, and only then",
    "isolation.level": "aborted messages must not be rows",
    "enable.partition.eof": "Neptune reads it to know where the log ends",
    "group.protocol": "all processes of a group must share it out in the same way",
    "partition.assignment.strategy": "all processes of a group must share it out in the same way",
    "heartbeat.interval.ms": "it follows NEPTUNE_SESSION_TIMEOUT_S",
    "max.poll.interval.ms": "it follows NEPTUNE_SESSION_TIMEOUT_S and NEPTUNE_DRAIN_S_MAX",
}
_CATALOG_FIXED = {
    "py-io-impl": "data files are written through PyArrow's file systems",
    "snapshot-loading-mode": "the ledger is read from a snapshot's history",
}


def contradictions(settings: Settings) -> Iterator[str]:
    """A problem for each pair of settings that cannot both hold."""
    yield from _kafka_properties(settings)
    yield from _catalog_properties(settings)
    yield from _keys(settings)
    yield from _timeouts(settings)


def _kafka_properties(settings: Settings) -> Iterator[str]:
    for name in settings.kafka.properties:
        if name in _KAFKA_BY_SETTING:
            yield f"NEPTUNE_KAFKA_PROPERTIES holds {name}; allowed: the setting {_KAFKA_BY_SETTING[name]}"
        elif name in _KAFKA_FIXED:
            yield f"NEPTUNE_KAFKA_PROPERTIES holds {name}, which Neptune sets itself: {_KAFKA_FIXED[name]}"


def _catalog_properties(settings: Settings) -> Iterator[str]:
    properties, given = settings.catalog.properties, settings.catalog.model_fields_set
    for name in properties:
        if name in _CATALOG_FIXED:
            yield f"NEPTUNE_CATALOG_PROPERTIES holds {name}, which Neptune sets itself: {_CATALOG_FIXED[name]}"
    if "rest_url" in given and "uri" in properties:
        yield "ICEBERG_REST_URL and the property uri of NEPTUNE_CATALOG_PROPERTIES are both given; allowed: one of them"
    elif "rest_url" in given and settings.catalog_type != "rest":
        yield (
            f"ICEBERG_REST_URL is given, and NEPTUNE_CATALOG_PROPERTIES says type {settings.catalog_type!r}; "
            "allowed: one of them"
        )
    if settings.catalog_type == "sql" and "uri" not in properties:
        yield "NEPTUNE_CATALOG_PROPERTIES says type 'sql' without uri; allowed: with a uri such as sqlite:////data/catalog.db"
    yield from _storage_properties(settings)


def _storage_properties(settings: Settings) -> Iterator[str]:
    properties, given = settings.catalog.properties, settings.minio.model_fields_set
    pairs = (
        ("MINIO_ENDPOINT", "endpoint", "s3.endpoint"),
        ("MINIO_ACCESS_KEY", "access_key", "s3.access-key-id"),
        ("MINIO_SECRET_KEY", "secret_key", "s3.secret-access-key"),
    )
    for setting, field, name in pairs:
        if field in given and name in properties:
            yield f"{setting} and the property {name} of NEPTUNE_CATALOG_PROPERTIES are both given; allowed: one of them"
    storage = settings.storage
    if storage and storage.bucket and "bucket" in given and storage.bucket != settings.minio.bucket:
        yield (
            f"MINIO_BUCKET is {settings.minio.bucket!r}, and the property warehouse lies in bucket {storage.bucket!r}; "
            "allowed: one of them"
        )


def _keys(settings: Settings) -> Iterator[str]:
    if (settings.minio.access_key is None) != (settings.minio.secret_key is None):
        yield "one of MINIO_ACCESS_KEY and MINIO_SECRET_KEY is empty; allowed: both or neither"


def _timeouts(settings: Settings) -> Iterator[str]:
    limits = (
        ("NEPTUNE_START_WAIT_S_MAX", settings.start_wait_s_max),
        ("NEPTUNE_RETRY_S_MAX", settings.retry_s_max),
        ("NEPTUNE_DRAIN_S_MAX", settings.drain_s_max),
    )
    for name, limit_s in limits:
        if 0 < limit_s < settings.request_timeout_s:
            yield (
                f"{name} is {limit_s:g}, less than NEPTUNE_REQUEST_TIMEOUT_S, {settings.request_timeout_s:g}: "
                f"one call could outlast it; allowed: at least as much"
            )
