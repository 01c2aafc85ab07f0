"""The S3 client of the lake: Arrow's, with its limits, set up so that a small object costs one request.

PyIceberg's own client opens each object as an upload of many parts: create, part, complete. Manifests and most data
files are small; opened late, they are one PUT. And it uploads a large file's parts one after another: to send them side by side, Arrow copies all
of the file first. Everything else (local folders, other clouds) is PyIceberg's.

The properties are PyIceberg's, `s3.…` before `client.…`; in addition `s3.tls-ca-file-path` names the certificates
that the endpoint's is checked against.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pyarrow.fs
from pyiceberg.io.pyarrow import PyArrowFileIO

ATTEMPTS_MAX = 1
"""Tries of one S3 request. The caller has patience of its own, with a limit and a log line for each try; retries beneath would only
keep it silent for longer. A try is given up `s3.request-timeout` after the last byte moved; curl, which measures that, needs up to six
seconds more."""

_TEXTS = {
    "endpoint_override": ("s3.endpoint",),
    "access_key": ("s3.access-key-id", "client.access-key-id"),
    "secret_key": ("s3.secret-access-key", "client.secret-access-key"),
    "session_token": ("s3.session-token", "client.session-token"),
    "region": ("s3.region", "client.region"),
    "proxy_options": ("s3.proxy-uri",),
    "role_arn": ("s3.role-arn", "client.role-arn"),
    "session_name": ("s3.role-session-name", "client.role-session-name"),
    "tls_ca_file_path": ("s3.tls-ca-file-path",),
}
_NUMBERS = {"connect_timeout": "s3.connect-timeout", "request_timeout": "s3.request-timeout"}
_SWITCHES = {"force_virtual_addressing": "s3.force-virtual-addressing", "anonymous": "s3.anonymous"}


class Storage(PyArrowFileIO):
    """PyIceberg's file access with Neptune's S3 client; PyIceberg makes it, by the property `py-io-impl`."""

    def _initialize_s3_fs(self, netloc: str | None) -> pyarrow.fs.FileSystem:
        return s3_client(self.properties, netloc)


def s3_client(
    properties: Mapping[str, Any], bucket: str | None, *, may_create_buckets: bool = False
) -> pyarrow.fs.S3FileSystem:
    """An S3 client by PyIceberg's properties.

    Args:
        bucket: whose region is asked for, of Amazon, where neither a region nor an endpoint is named.
    """
    options: dict[str, Any] = {}
    for argument, names in _TEXTS.items():
        if named := [properties[name] for name in names if properties.get(name)]:
            options[argument] = named[0]
    options |= {argument: float(properties[name]) for argument, name in _NUMBERS.items() if name in properties}
    options |= {a: str(properties[name]).lower() == "true" for a, name in _SWITCHES.items() if name in properties}
    if bucket and not {"region", "endpoint_override"} & options.keys():
        options["region"] = pyarrow.fs.resolve_s3_region(bucket)
    return pyarrow.fs.S3FileSystem(
        **options,
        retry_strategy=_retries(properties),
        allow_delayed_open=True,
        background_writes=False,
        allow_bucket_creation=may_create_buckets,
    )


def _retries(properties: Mapping[str, Any]) -> pyarrow.fs.S3RetryStrategy:
    if named := properties.get("s3.retry-strategy-impl"):
        module, _, name = str(named).rpartition(".")
        return getattr(importlib.import_module(module), name)()
    return pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS_MAX)
