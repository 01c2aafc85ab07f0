"""Foreign errors become Neptune's own, and no secret goes with them."""

from __future__ import annotations

import pytest
from pyiceberg.exceptions import ForbiddenError, OAuthError, ServerError, UnauthorizedError
from requests import ConnectionError as RequestsConnectionError
from sqlalchemy.exc import OperationalError

from neptune_flow.errors import AccessDenied, LedgerConflict, NeptuneError, Unavailable
from neptune_flow.iceberg.faults import Faults, redact_address

PROPERTIES = {
    "uri": "postgresql://neptune:geheim@db:5432/iceberg?sslkey=geheim",
    "s3.endpoint": "http://minio:9000",
    "s3.secret-access-key": "streng-geheim",
    "credential": "client:vertraulich",
}


@pytest.fixture
def faults() -> Faults:
    return Faults("lake", PROPERTIES)


@pytest.mark.parametrize(
    ("error", "kind", "service"),
    [
        (UnauthorizedError("no"), AccessDenied, "catalog lake at postgresql://db:5432/iceberg"),
        (ForbiddenError("no"), AccessDenied, "catalog lake"),
        (OAuthError("invalid_client"), AccessDenied, "catalog lake"),
        (ServerError("oops"), Unavailable, "catalog lake"),
        (RequestsConnectionError("refused"), Unavailable, "catalog lake"),
        (OperationalError("select", {}, Exception("database is locked")), Unavailable, "catalog lake"),
        (OperationalError("connect", {}, Exception("password authentication failed")), AccessDenied, "catalog lake"),
        (OSError("AWS Error NETWORK_CONNECTION during PutObject"), Unavailable, "storage at http://minio:9000"),
        (
            OSError("AWS Error ACCESS_DENIED during PutObject: Access Denied."),
            AccessDenied,
            "storage at http://minio:9000",
        ),
        (PermissionError("no"), AccessDenied, "storage"),
        (
            OSError("AWS Error NO_SUCH_BUCKET during PutObject: The specified bucket does not exist"),
            Unavailable,
            "no such bucket",
        ),
        (OSError(28, "No space left on device"), Unavailable, "storage"),
    ],
)
def test_what_is_understood_is_translated(
    faults: Faults, error: Exception, kind: type[NeptuneError], service: str
) -> None:
    translated = faults.translate("loading table default.events", error)
    assert type(translated) is kind
    assert service in str(translated)
    assert "loading table default.events" in translated.primary
    assert translated.hint


@pytest.mark.parametrize("error", [ValueError("defect"), KeyError("defect"), AssertionError(), MemoryError()])
def test_a_defect_goes_through_unchanged(faults: Faults, error: Exception) -> None:
    assert faults.translate("x", error) is None
    with pytest.raises(type(error)), faults.during("x"):
        raise error


def test_neptunes_own_errors_go_through_unchanged(faults: Faults) -> None:
    error = LedgerConflict("two stories")
    with pytest.raises(LedgerConflict) as raised, faults.during("x"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("secret", ["streng-geheim", "vertraulich", "geheim", "neptune:geheim@"])
def test_secrets_are_struck_out_and_the_foreign_error_is_not_chained(faults: Faults, secret: str) -> None:
    with pytest.raises(Unavailable) as raised, faults.during("x"):
        raise OSError(f"cannot reach postgresql://neptune:geheim@db with {secret}")
    assert secret not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_a_foreign_error_without_a_secret_is_chained(faults: Faults) -> None:
    with pytest.raises(Unavailable) as raised, faults.during("x"):
        raise OSError("plain")
    assert isinstance(raised.value.__cause__, OSError)


def test_a_long_foreign_text_is_cut(faults: Faults) -> None:
    assert len(faults.text(OSError("page " * 1000))) < 500


def test_an_address_is_shown_without_user_password_and_query() -> None:
    assert redact_address("postgresql://u:p@host:1/db?password=x") == "postgresql://host:1/db"
    assert redact_address("http://host:1/path") == "http://host:1/path"
