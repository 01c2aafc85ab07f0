"""TLS and SASL as in production: what lands through them, and what a wrong password or certificate ends in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import pytest

from neptune_flow.errors import AccessDenied
from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.topic import find_topic
from tests.services.conftest import own_name, without_servers
from tests.services.neptune import assert_stopped
from tests.services.servers import KafkaCluster, ObjectStorage, Platform, RestCatalog, ServerError, free_port
from tests.services.servers.kafka import PLAIN_USERS
from tests.services.servers.tls import Certificates, TlsFront
from tests.services.stage import Stage
from tests.services.traffic import past_fleet

USER, PASSWORD = "neptune", "the-password-of-scram"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def kafka(certificates: Certificates) -> Iterator[KafkaCluster]:
    """A broker with a port for TLS and SASL, and a user."""
    cluster = KafkaCluster(certificate=certificates.issue("broker"))
    try:
        cluster.start()
    except ServerError as error:
        without_servers(error)
    cluster.make_user(USER, PASSWORD)
    yield cluster
    cluster.close()


@pytest.fixture
def secure(kafka: KafkaCluster, platform: Platform, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage whose Kafka has a secure port."""
    own = Stage(platform, own_name(request), tmp_path, kafka)
    own.create_topic(2)
    yield own
    own.close()


def kafka_properties(ca: Path, mechanism: str = "SCRAM-SHA-512", password: str = PASSWORD) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": mechanism,
        "sasl.username": USER,
        "sasl.password": password,
        "ssl.ca.location": str(ca),
    }


def test_rows_land_by_tls_to_all_three_services_with_a_private_authority(
    secure: Stage, certificates: Certificates
) -> None:
    certificate, ca = certificates.issue("server"), str(certificates.ca)
    traffic = secure.traffic()
    traffic.send(islice(past_fleet(1), 300))
    with ExitStack() as fronts:
        catalog, storage = (
            fronts.enter_context(TlsFront(server.port, certificate))
            for server in (secure.platform.catalog, secure.platform.storage)
        )
        neptune = secure.start(
            KAFKA_BOOTSTRAP_SERVERS=secure.kafka.secure_bootstrap,
            NEPTUNE_KAFKA_PROPERTIES=json.dumps(kafka_properties(certificates.ca)),
            ICEBERG_REST_URL=f"https://127.0.0.1:{catalog.port}",
            MINIO_ENDPOINT=f"https://127.0.0.1:{storage.port}",
            NEPTUNE_CATALOG_PROPERTIES=json.dumps({"ssl.cabundle": ca, "s3.tls-ca-file-path": ca}),
        )
        secure.wait_caught_up(neptune)
        assert neptune.terminate() == 0, neptune.tail()
        assert catalog.connections > 0
        assert storage.connections > 0
    secure.assert_exact(traffic.sent)
    assert PASSWORD not in neptune.text()


def test_certificates_that_expire_under_a_running_process_are_waited_for_and_their_successors_taken(
    stage: Stage, certificates: Certificates
) -> None:
    good, expired, ca = certificates.issue("first"), certificates.issue("late", days=-1), str(certificates.ca)
    servers = stage.platform.catalog, stage.platform.storage
    ports = free_port(), free_port()
    stage.create_topic(1)
    traffic = stage.traffic()
    with _fronts(servers, good, ports):
        neptune = stage.start(
            ICEBERG_REST_URL=f"https://127.0.0.1:{ports[0]}",
            MINIO_ENDPOINT=f"https://127.0.0.1:{ports[1]}",
            NEPTUNE_CATALOG_PROPERTIES=json.dumps({"ssl.cabundle": ca, "s3.tls-ca-file-path": ca}),
        )
        traffic.send(islice(past_fleet(1), 100))
        stage.wait_caught_up(neptune)
    with _fronts(servers, expired, ports):
        traffic.send(islice(past_fleet(2), 100))
        neptune.wait_for(lambda: "is not trusted" in str(neptune.events("waiting")), "the certificate is told")
    with _fronts(servers, good, ports):
        stage.wait_caught_up(neptune)
        assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


@contextmanager
def _fronts(servers: Sequence[RestCatalog | ObjectStorage], certificate: Path, ports: Sequence[int]) -> Iterator[None]:
    with ExitStack() as stack:
        for server, port in zip(servers, ports, strict=True):
            stack.enter_context(TlsFront(server.port, certificate, port))
        yield


def test_a_wrong_password_ends_the_start_at_once_with_its_code(secure: Stage, certificates: Certificates) -> None:
    wrong = kafka_properties(certificates.ca, password="not-the-password")
    neptune = secure.start(
        KAFKA_BOOTSTRAP_SERVERS=secure.kafka.secure_bootstrap, NEPTUNE_KAFKA_PROPERTIES=json.dumps(wrong)
    )
    assert neptune.wait() == 77, neptune.tail()
    assert_stopped(neptune, "AccessDenied", "check the credentials in NEPTUNE_KAFKA_PROPERTIES")
    assert not neptune.events("waiting")
    assert "not-the-password" not in neptune.text()


def test_sasl_plain_lets_in_who_has_the_password_and_nobody_else(secure: Stage, certificates: Certificates) -> None:
    def find(password: str) -> tuple[int, ...]:
        properties = kafka_properties(certificates.ca, "PLAIN", password)
        return find_topic(KafkaAddress(secure.kafka.secure_bootstrap, secure.topic, "g", properties)).partitions

    assert find(PLAIN_USERS[USER]) == (0, 1)
    with pytest.raises(AccessDenied, match="not allowed while asking for the topic"):
        find("not-the-password")
