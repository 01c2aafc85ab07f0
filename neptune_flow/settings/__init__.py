"""Settings stop here: read once from the environment, checked together, frozen; the depth receives values.

    environment, files ─► source (forms, all problems at once) ─► fields (groups) ─► checks (contradictions) ─► Settings

`fields` holds each setting's name, default, range and meaning, once. Properties of librdkafka and of the PyIceberg catalog
are passed through as JSON objects under their own names, since those contain dots, hyphens and underscores that no rule for
environment names could tell apart. What Neptune must decide itself is refused there by name (`checks`).

Secrets are `SecretStr`, or values of `Properties`: neither shows them in a repr, a log or an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from neptune_flow.errors import SettingsError
from neptune_flow.settings.checks import contradictions
from neptune_flow.settings.fields import GROUPS, Catalog, Kafka, Minio, Own, all_docs, shown
from neptune_flow.settings.source import read_group, unknown_names
from neptune_flow.settings.values import looks_secret, secrets_in

__all__ = ["Described", "Settings", "Storage", "looks_secret", "markdown"]

_S3_SCHEMES = frozenset({"s3", "s3a", "s3n"})
_HINT = "`python -m neptune_flow.settings` lists every setting with its default, range and meaning"


@dataclass(frozen=True, slots=True)
class Storage:
    """The S3 storage in which the tables lie."""

    endpoint: str | None
    """None: AWS itself."""
    bucket: str | None
    """The bucket to make where it is missing; None where the catalog alone knows it."""


class Described(NamedTuple):
    """A setting, its value in a form that may be logged, and what its documentation says."""

    name: str
    value: str
    default: str
    allowed: str
    meaning: str
    is_default: bool


class Settings(Own):
    """All settings. Neptune's own are fields here (`settings.window_s`), the outside worlds' are in groups."""

    kafka: Kafka
    catalog: Catalog
    minio: Minio

    @staticmethod
    def load(environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that the environment (default: the process's) describes.

        Raises:
            SettingsError: names every setting that is unknown, out of range or contradicts another, with its value and
                what is allowed.
        """
        environ = os.environ if environ is None else environ
        problems = unknown_names(environ)
        kafka = read_group(Kafka, environ, problems)
        catalog = read_group(Catalog, environ, problems)
        minio = read_group(Minio, environ, problems)
        own = read_group(Own, environ, problems)
        if kafka and catalog and minio and own:
            settings = Settings.model_construct(kafka=kafka, catalog=catalog, minio=minio, **dict(own))
            problems.extend(contradictions(settings))
            if not problems:
                return settings
        raise _error(problems)

    @property
    def catalog_type(self) -> str:
        """PyIceberg's name for the kind of catalog: rest, sql, glue, hive."""
        return self.catalog.properties.get("type", "rest")

    @property
    def quarantine_table(self) -> str:
        """Name of the table of rejects."""
        return f"{self.catalog.table}_quarantine"

    @property
    def storage(self) -> Storage | None:
        """The S3 storage in which the tables lie; None where they lie elsewhere, such as in a local folder."""
        warehouse = self.catalog.properties.get("warehouse")
        endpoint = self.catalog.properties.get("s3.endpoint", self.minio.endpoint)
        if warehouse is None:
            return Storage(endpoint, self.minio.bucket)
        parts = urlsplit(warehouse)
        if parts.scheme in _S3_SCHEMES:
            return Storage(endpoint, parts.netloc)
        is_name = not parts.scheme and not parts.path.startswith(("/", "."))
        return Storage(endpoint, None) if is_name and self.catalog_type != "sql" else None

    def table_location(self, table: str) -> str | None:
        """Where to create a table; None where the catalog decides, since it was given a `warehouse`."""
        if "warehouse" in self.catalog.properties:
            return None
        return "/".join([f"s3://{self.minio.bucket}", *self.catalog.namespace, table])

    def catalog_properties(self) -> dict[str, str]:
        """What PyIceberg's catalog is made with; holds secrets. What is passed through wins over what is derived."""
        derived: dict[str, str] = {"type": self.catalog_type}
        if self.catalog_type == "rest":
            derived["uri"] = self.catalog.rest_url
        elif self.storage and "warehouse" not in self.catalog.properties:
            derived["warehouse"] = f"s3://{self.minio.bucket}"
        return {**derived, **self._storage_properties(), **self.catalog.properties}

    def _storage_properties(self) -> dict[str, str]:
        if self.storage is None:
            return {}
        properties = {"s3.endpoint": self.storage.endpoint} if self.storage.endpoint else {}
        if self.minio.access_key and self.minio.secret_key:
            properties["s3.access-key-id"] = self.minio.access_key.get_secret_value()
            properties["s3.secret-access-key"] = self.minio.secret_key.get_secret_value()
        return properties

    def secrets(self) -> frozenset[str]:
        """Every text that nothing may show: the one list, which log, page and traces mask by (`telemetry.register_secret`).

        The documented defaults of the keys are public, and ordinary words.
        """
        public = {doc.default for doc in all_docs()}
        keys = [k.get_secret_value() for k in (self.minio.access_key, self.minio.secret_key) if k is not None]
        passed = [*secrets_in(self.kafka.properties), *secrets_in(self.catalog.properties)]
        return frozenset({*(key for key in keys if key not in public), *passed} - {""})

    def describe(self) -> list[Described]:
        """Every setting with its value; of secrets a mask, of properties the names."""
        return [
            Described(
                doc.name,
                shown(getattr(part, field)),
                doc.default,
                doc.allowed,
                doc.meaning,
                is_default=getattr(part, field) == getattr(default, field),
            )
            for group, part, default in zip(GROUPS, self._parts, Settings.load({})._parts, strict=True)
            for field, doc in group.docs()
        ]

    @property
    def _parts(self) -> tuple[Kafka, Catalog, Minio, Settings]:
        return self.kafka, self.catalog, self.minio, self


def _error(problems: list[str]) -> SettingsError:
    if len(problems) == 1:
        return SettingsError(problems[0], hint=_HINT)
    lines = "".join(f"\n  {problem}" for problem in problems)
    return SettingsError(f"{len(problems)} settings are wrong", detail=lines, hint=_HINT)


def markdown() -> str:
    """A table of all settings for the documentation."""
    lines = ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for doc in all_docs():
        name = f"`{doc.name}`" + (f", or a file: `{doc.name}_FILE`" if doc.secret else "")
        allowed = doc.allowed.replace("|", "\\|")
        lines.append(f"| {name} | `{doc.default}` | {allowed} | {doc.meaning} |")
    return "\n".join(lines)
