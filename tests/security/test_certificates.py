"""A certificate that is not trusted: each service by each fault gives one clear error, and ends the start at once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from neptune_flow.errors import NeptuneError, Untrusted
from neptune_flow.iceberg import Lake
from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.topic import find_topic
from neptune_flow.patience import Patience
from tests.services.neptune import ROOT, Neptune, assert_stopped
from tests.services.servers.process import HOST
from tests.services.servers.tls import Certificates, TlsFront

LIMIT_S = 5.0
FAULTS = ("expired", "of another host", "of an unknown authority")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def behind() -> Iterator[int]:
    """A port that somebody listens on: nothing of a request gets so far."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def front(
    request: pytest.FixtureRequest, certificates: Certificates, strangers: Certificates, behind: int
) -> Iterator[TlsFront]:
    """A server with a certificate of this fault."""
    faulty = {
        "expired": lambda: certificates.issue("expired", days=-1),
        "of another host": lambda: certificates.issue("elsewhere", "kafka.example"),
        "of an unknown authority": lambda: strangers.issue("stranger"),
    }
    with TlsFront(behind, faulty[request.param]()) as own:
        yield own


def ask_kafka(port: int, ca: Path) -> None:
    find_topic(KafkaAddress(f"{HOST}:{port}", "t", "g", {"security.protocol": "SSL", "ssl.ca.location": str(ca)}))


def ask_catalog(port: int, ca: Path | None) -> None:
    authorities = {"ssl.cabundle": str(ca)} if ca else {}
    Lake.open("catalog", {"type": "rest", "uri": f"https://{HOST}:{port}", **authorities}, request_timeout_s=LIMIT_S)


def ask_token(port: int, ca: Path) -> None:
    properties = {
        "type": "rest",
        "uri": f"http://{HOST}:1",
        "ssl.cabundle": str(ca),
        "auth.type": "oauth2",
        "auth.oauth2.client_id": "neptune",
        "auth.oauth2.client_secret": "secret",
        "auth.oauth2.token_url": f"https://{HOST}:{port}/token",
    }
    Lake.open("catalog", properties, request_timeout_s=LIMIT_S)


def ask_storage(port: int, ca: Path | None) -> None:
    properties = {
        "type": "sql",
        "uri": "sqlite:///:memory:",
        "s3.endpoint": f"https://{HOST}:{port}",
        "s3.access-key-id": "some",
        "s3.secret-access-key": "body",
        **({"s3.tls-ca-file-path": str(ca)} if ca else {}),
    }
    Lake.open("catalog", properties, request_timeout_s=LIMIT_S).ensure_bucket("bucket")


ASKED = [
    pytest.param(ask_kafka, "NEPTUNE_KAFKA_PROPERTIES", "ssl.ca.location", id="Kafka"),
    pytest.param(ask_catalog, "NEPTUNE_CATALOG_PROPERTIES", "ssl.cabundle", id="catalog"),
    pytest.param(ask_token, "NEPTUNE_CATALOG_PROPERTIES", "ssl.cabundle", id="token"),
    pytest.param(ask_storage, "NEPTUNE_CATALOG_PROPERTIES", "s3.tls-ca-file-path", id="storage"),
]


@pytest.mark.parametrize("front", FAULTS, indirect=True)
@pytest.mark.parametrize(("ask", "setting", "property_name"), ASKED)
def test_a_bad_certificate_is_told_with_the_address_and_the_property_that_names_an_authority(
    front: TlsFront,
    certificates: Certificates,
    ask: Callable[[int, Path], None],
    setting: str,
    property_name: str,
) -> None:
    with pytest.raises(Untrusted) as raised:
        ask(front.port, certificates.ca)
    said = raised.value
    assert str(front.port) in str(said)
    assert setting in said.hint
    assert property_name in said.hint
    assert front.passed_bytes == 0, "no credentials were sent"


@pytest.mark.parametrize(("ask", "setting", "property_name"), ASKED)
def test_a_good_certificate_of_the_private_authority_is_taken_whatever_the_environment_says(
    certificates: Certificates,
    strangers: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[int, Path], None],
    setting: str,
    property_name: str,
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(strangers.ca))
    with socket.create_server((HOST, 0)) as closed:
        nobody = closed.getsockname()[1]
    with TlsFront(nobody, certificates.issue("good")) as front:
        with pytest.raises(NeptuneError) as raised:
            ask(front.port, certificates.ca)
        assert front.connections > 0, (setting, property_name)
    assert not isinstance(raised.value, Untrusted)


@pytest.mark.parametrize(("ask", "variable"), [(ask_catalog, "REQUESTS_CA_BUNDLE"), (ask_storage, "SSL_CERT_FILE")])
def test_without_the_property_a_variable_of_the_environment_names_the_authority(
    certificates: Certificates, ask: Callable[[int, Path | None], None], variable: str
) -> None:
    with socket.create_server((HOST, 0)) as closed:
        nobody = closed.getsockname()[1]
    with TlsFront(nobody, certificates.issue("good")) as front:
        # The variable is read when a process first needs it.
        script = f"from {__name__} import {ask.__name__}; {ask.__name__}({front.port}, None)"
        asked = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, variable: str(certificates.ca)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert front.connections > 0
    assert "Unavailable" in asked.stderr
    assert "Untrusted" not in asked.stderr


@pytest.mark.parametrize(("ask", "setting", "property_name"), ASKED[1:])
def test_a_file_of_authorities_that_is_not_there_is_told(
    certificates: Certificates, behind: int, ask: Callable[[int, Path], None], setting: str, property_name: str
) -> None:
    with (
        TlsFront(behind, certificates.issue("good")) as front,
        pytest.raises(Untrusted, match=r"nowhere\.pem") as raised,
    ):
        ask(front.port, Path("/nowhere.pem"))
    assert setting in raised.value.hint
    assert property_name in raised.value.hint


@pytest.mark.parametrize("front", ["of an unknown authority"], indirect=True)
def test_a_start_that_trusts_nobody_ends_at_once_with_its_code(
    front: TlsFront, certificates: Certificates, tmp_path: Path
) -> None:
    properties = {"security.protocol": "SSL", "ssl.ca.location": str(certificates.ca)}
    neptune = Neptune(
        {
            "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{front.port}",
            "NEPTUNE_KAFKA_PROPERTIES": json.dumps(properties),
            "NEPTUNE_START_WAIT_S_MAX": "600",
        },
        tmp_path / "log",
    )
    assert neptune.wait(60) == 77, neptune.tail()
    assert_stopped(neptune, "Untrusted", "ssl.ca.location")


def test_at_the_start_it_is_not_waited_for_but_under_a_running_process_it_may_be_renewed() -> None:
    def ask() -> str:
        if not asked:
            asked.append(1)
            raise Untrusted("the certificate has expired")
        return "landed"

    asked: list[int] = []
    with pytest.raises(Untrusted):
        Patience(limit_s=LIMIT_S).call("catalog", ask)
    asked.clear()
    assert Patience(limit_s=LIMIT_S, denied_too=True).call("catalog", ask) == "landed"
