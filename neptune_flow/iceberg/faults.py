"""What foreign errors mean: the exceptions of PyIceberg, Arrow, HTTP and SQL clients become Neptune's own.

No other module of this package reads the text of a foreign exception; this one does nothing else. Two rules:

*Only what is understood is translated.* An exception that comes neither from storage nor from a catalog's client is a
defect and goes through unchanged.

*No secret leaves.* A foreign text may quote an address with its password, or a property. Every secret among the
properties is struck out of the texts, and where one was, the foreign exception is not chained (a traceback would
print it again).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyiceberg.exceptions import AuthorizationExpiredError, ForbiddenError, OAuthError, RESTError, UnauthorizedError

from neptune_flow.errors import AccessDenied, NeptuneError, Unavailable, Untrusted
from neptune_flow.settings.values import secrets_in

_TEXT_CHARS_MAX = 400
"""A foreign text is quoted up to here: servers answer with whole pages."""

_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_CATALOG_CLIENTS = frozenset(
    {"requests", "urllib3", "sqlalchemy", "sqlite3", "psycopg", "psycopg2", "pydantic", "pydantic_core", "thrift"}
)
_STORAGE_CLIENTS = frozenset({"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "adlfs", "azure"})
_DENIED = re.compile(
    r"ACCESS_DENIED|AccessDenied|INVALID_ACCESS_KEY_ID|InvalidAccessKeyId|INVALID_CLIENT_TOKEN_ID|InvalidClientTokenId"
    r"|SIGNATURE_DOES_NOT_MATCH|SignatureDoesNotMatch|EXPIRED_TOKEN|ExpiredToken|INVALID_SIGNATURE|code 15\]"
    r"|HTTP status 403|HTTP status 401|password authentication failed"
)
_UNTRUSTED = re.compile(
    r"certificate.verify.failed|SSL peer certificate|SSL CA cert|TLS CA certificate bundle|no alternative certificate subject",
    re.I,
)
_UNTRUSTED_HINT = (
    "it has expired, is for another host, or is of an authority that is not known here: NEPTUNE_CATALOG_PROPERTIES may name "
    "the file of a private one as {}"
)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist|bucket '[^']*' does not exist", re.I)


class Faults:
    """Translates the errors of one catalog and its storage.

    Args:
        name: the catalog's name, for the messages.
        properties: the catalog's properties; secrets among them never appear in a message.
    """

    def __init__(self, name: str, properties: Mapping[str, str]) -> None:
        uri = properties.get("uri", "")
        at = [f"at {redact_address(uri)}"] if uri else []
        # The default name is "catalog": "the catalog catalog" would be a stutter.
        self.catalog_at = " ".join([*([] if at and name == "catalog" else [name]), *at])
        self.storage_at = properties.get("s3.endpoint") or properties.get("warehouse") or "its default address"
        self._secrets = sorted(set(secrets_in(properties)) - {""}, key=len, reverse=True)

    def text(self, error: BaseException) -> str:
        """The error as one line without secrets."""
        line = " ".join(str(error).split()) or type(error).__name__
        line = _USER_INFO.sub("***@", line)
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line if len(line) <= _TEXT_CHARS_MAX else line[:_TEXT_CHARS_MAX] + "…"

    def translate(self, doing: str, error: Exception) -> NeptuneError | None:
        """Neptune's error for a foreign one, None where it is not understood.

        Args:
            doing: what was being done, as in "loading table default.events".
        """
        if isinstance(error, NeptuneError):
            return error
        if _is_of_catalog(error):
            return self._of_catalog(doing, error)
        if _is_of_storage(error):
            return self._of_storage(doing, error)
        return None

    @contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Raise Neptune's errors instead of foreign ones in this block."""
        try:
            yield
        except Exception as error:
            translated = self.translate(doing, error)
            if translated is None or translated is error:
                raise
            raise translated from (error if self._may_be_shown(error) else None)

    def _may_be_shown(self, error: BaseException) -> bool:
        chain: BaseException | None = error
        while chain is not None:
            text = str(chain)
            if _USER_INFO.search(text) or any(secret in text for secret in self._secrets):
                return False
            chain = chain.__cause__ or chain.__context__
        return True

    def _of_catalog(self, doing: str, error: Exception) -> NeptuneError:
        if _UNTRUSTED.search(str(error)):
            return Untrusted(
                f"the certificate of the catalog {self.catalog_at} is not trusted while {doing}",
                detail=self.text(error),
                hint=_UNTRUSTED_HINT.format("ssl.cabundle"),
            )
        status = http_status(error)
        denied = isinstance(error, UnauthorizedError | ForbiddenError | OAuthError | AuthorizationExpiredError)
        if denied or status in (401, 403) or _DENIED.search(str(error)):
            return AccessDenied(
                f"the catalog {self.catalog_at} refuses access while {doing}",
                detail=self.text(error),
                hint="check the catalog's credentials and what they may do",
            )
        if status is not None and 400 <= status < 500:
            return Unavailable(
                f"the catalog {self.catalog_at} refuses the request while {doing}",
                detail=self.text(error),
                hint="check that the address is that of an Iceberg REST catalog and that its warehouse exists",
            )
        return Unavailable(
            f"the catalog {self.catalog_at} does not answer while {doing}",
            detail=f"{type(error).__name__}: {self.text(error)}",
            hint="check that the catalog runs and that its address is right",
        )

    def _of_storage(self, doing: str, error: Exception) -> NeptuneError:
        text = str(error)
        if _UNTRUSTED.search(text):
            return Untrusted(
                f"the certificate of the storage at {self.storage_at} is not trusted while {doing}",
                detail=self.text(error),
                hint=_UNTRUSTED_HINT.format("s3.tls-ca-file-path"),
            )
        if isinstance(error, PermissionError) or _DENIED.search(text):
            return AccessDenied(
                f"the storage at {self.storage_at} refuses access while {doing}",
                detail=self.text(error),
                hint="check the access key, the secret key, and that they may read and write the bucket",
            )
        if _NO_BUCKET.search(text):
            return Unavailable(
                f"the storage at {self.storage_at} has no such bucket while {doing}",
                detail=self.text(error),
                hint="create the bucket, or check its name",
            )
        return Unavailable(
            f"the storage at {self.storage_at} does not answer while {doing}",
            detail=f"{type(error).__name__}: {self.text(error)}",
            hint="check that the storage runs and that its address is right",
        )


def http_status(error: BaseException) -> int | None:
    """The HTTP status that a catalog answered with; None where there was no answer."""
    response = getattr(error.__cause__, "response", None)
    if response is None:
        response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def redact_address(address: str) -> str:
    """The address without user, password and query."""
    return _USER_INFO.sub("", address.split("?", 1)[0])


def _root_module(error: BaseException) -> set[str]:
    return {cls.__module__.split(".", 1)[0] for cls in type(error).__mro__}


def _is_of_catalog(error: Exception) -> bool:
    if "TLS CA certificate bundle" in str(error):
        return True  # an OSError of requests: the file is not there
    return isinstance(error, RESTError) or not _CATALOG_CLIENTS.isdisjoint(_root_module(error))


def _is_of_storage(error: Exception) -> bool:
    return isinstance(error, OSError) or not _STORAGE_CLIENTS.isdisjoint(_root_module(error))
