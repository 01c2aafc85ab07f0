"""Marked secrets in every place where one can be, a run with failures, and a search of all that came out of it."""

from __future__ import annotations

import base64
import http.client
import json
import secrets as dice
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.fs
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from tests.services.neptune import Neptune
from tests.services.servers.process import HOST, free_port
from tests.services.stage import Stage
from tests.services.test_outage import IMPATIENT, killed
from tests.services.traffic import live_fleet
from tests.telemetry.receiver import Receiver, receiver

RATE = 200.0
PATHS = ("/", "/livez", "/readyz", "/healthz", "/status.json", "/metrics", "/nothing")
COMMANDS = (
    ("check",),
    ("check", "--json"),
    ("status",),
    ("status", "--json"),
    ("verify",),
    ("ledger", "show"),
    ("contract", "diff"),
    ("quarantine", "list"),
    ("query", "select count(*) from rows"),
)
LIMIT_S = 90.0


@pytest.fixture
def received() -> Iterator[Receiver]:
    with receiver() as own:
        yield own


class Planted:
    """Secrets that nothing else contains, and the settings that hold them."""

    def __init__(self, stage: Stage, otlp: str) -> None:
        self.marks: dict[str, str] = {}
        catalog, storage = stage.platform.catalog, stage.platform.storage
        kafka = {
            "sasl.password": self._mark("sasl.password", "/+% ü"),
            "ssl.key.password": self._mark("ssl.key.password"),
            "sasl.oauthbearer.client.secret": self._mark("sasl.oauthbearer.client.secret"),
        }
        lake = {
            "uri": f"http://someone:{self._mark('password in an address')}@{HOST}:{catalog.port}",
            "credential": f"someone:{self._mark('credential')}",
            "oauth2-server-uri": f"{catalog.uri}/v1/oauth/tokens",
            "header.X-Api-Key": self._mark("header"),
            "adls.sas-token.account": self._mark("sas token"),
        }
        self.marks |= {"MINIO_ACCESS_KEY": storage.access_key, "MINIO_SECRET_KEY": storage.secret_key}
        self.settings = {
            "NEPTUNE_KAFKA_PROPERTIES": json.dumps({"socket.timeout.ms": 3000, **kafka}),
            "NEPTUNE_CATALOG_PROPERTIES_FILE": str(self._file(stage.directory, json.dumps(lake))),
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.replace("http://", f"http://someone:{self._mark('OTLP address')}@"),
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{self._mark('OTLP header')}",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "LOG_LEVEL": "DEBUG",
        }

    def _mark(self, place: str, more: str = "") -> str:
        self.marks[place] = f"planted{more}{dice.token_hex(8)}"
        return self.marks[place]

    @staticmethod
    def _file(directory: Path, content: str) -> Path:
        path = directory / "catalog.json"
        path.write_text(content)
        return path

    def found_in(self, content: bytes | str) -> list[str]:
        """The places whose secret is in this, as it was written, escaped, percent-encoded or in base 64."""
        raw = content if isinstance(content, bytes) else content.encode()
        return [
            place
            for place, mark in self.marks.items()
            if any(
                form in raw
                for form in (
                    mark.encode(),
                    json.dumps(mark)[1:-1].encode(),
                    quote(mark, safe="").encode(),
                    base64.b64encode(f"someone:{mark}".encode()),
                )
            )
        ]


def test_no_secret_comes_out_of_a_run_with_failures(stage: Stage, received: Receiver, seed: int) -> None:
    planted = Planted(stage, received.address)
    outputs: dict[str, bytes | str] = {}
    port = free_port()
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE, bad_share=0.1), RATE):
        neptune = _start(stage, planted, port)
        neptune.wait_event("committed")
        received.status = 500
        for name, server in (("storage", stage.platform.storage), ("catalog", stage.platform.catalog)):
            seen = len(neptune.events("waiting"))
            with killed(server):
                neptune.wait_for(lambda seen=seen: len(neptune.events("waiting")) > seen, f"{name} is missed")  # type: ignore[misc]
                outputs |= {f"{path} without {name}": _page(port, path) for path in PATHS}
        received.status = 200
        outputs |= {f"{path} before the end": _page(port, path) for path in PATHS}
        outputs["arguments"] = _arguments(neptune.pid)
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    assert received.traces, "traces were sent"
    outputs["traces"] = b"".join(request.SerializeToString() for request in received.traces)
    outputs["metrics"] = b"".join(request.SerializeToString() for request in received.metrics)
    outputs["the group's offsets"] = _group(stage)
    outputs |= _objects(stage)
    for words in COMMANDS:
        command = _without_empty(stage, {**planted.settings, "ICEBERG_REST_URL": ""}, *words)
        assert command.wait(LIMIT_S) in (0, 1), command.text()
    outputs |= {f"log {number} of {len(stage.processes)}": p.text() for number, p in enumerate(stage.processes)}

    assert {what: found for what, content in outputs.items() if (found := planted.found_in(content))} == {}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"MINIO_SECRET_KEY": "planted-and-wrong"}, 77),
        ({"NEPTUNE_CATALOG_PROPERTIES": f'{{"uri": "http://someone:planted-and-wrong@{HOST}:1"}}'}, 69),
        ({"NEPTUNE_KAFKA_PROPERTIES": '{"sasl.password": "planted-and-wrong", "no.such": "planted-and-wrong"}'}, 78),
        ({"NEPTUNE_CATALOG_PROPERTIES": '{"type": "planted-and-wrong", "credential": "planted-and-wrong"}'}, 78),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://someone:planted-and-wrong@host"}, 78),
        ({"MINIO_ENDPOINT": "http://someone:planted-and-wrong@host"}, 78),
    ],
)
def test_no_secret_is_in_what_a_failed_start_and_a_failed_check_say(
    stage: Stage, changes: dict[str, str], code: int
) -> None:
    stage.create_topic(1)
    settings = {**IMPATIENT, "NEPTUNE_START_WAIT_S_MAX": "0", **changes}
    if "NEPTUNE_CATALOG_PROPERTIES" in changes:
        settings["ICEBERG_REST_URL"] = ""
    flow = _without_empty(stage, settings)
    assert flow.wait(LIMIT_S) == code, flow.tail()
    check = _without_empty(stage, settings, "check")
    check.wait(LIMIT_S)
    for process in (flow, check):
        assert "planted-and-wrong" not in process.text()


def _without_empty(stage: Stage, settings: dict[str, str], *words: str) -> Neptune:
    """A process whose environment lacks what is empty here."""
    own = {name: value for name, value in stage.settings(**settings).items() if value}
    command = ("-m", "neptune_flow", *(words or ("run",)))
    process = Neptune(own, stage.directory / f"neptune-{len(stage.processes) + 1}.log", command)
    stage.processes.append(process)
    return process


def _start(stage: Stage, planted: Planted, port: int) -> Neptune:
    own = {"NEPTUNE_HTTP_PORT": str(port), "NEPTUNE_HTTP_HOST": HOST, "NEPTUNE_HTTP_SAMPLES": "true"}
    return _without_empty(stage, {**planted.settings, **own, "ICEBERG_REST_URL": ""})


def _page(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = repr(answer.getheaders()).encode() + answer.read()
    connection.close()
    return content


def _arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _group(stage: Stage) -> str:
    """What Kafka keeps for the group."""
    admin = AdminClient({"bootstrap.servers": stage.kafka.bootstrap})
    asked = [ConsumerGroupTopicPartitions(stage.group)]
    kept = admin.list_consumer_group_offsets(asked)[stage.group].result(30)
    groups = admin.describe_consumer_groups([stage.group])[stage.group].result(30)
    return repr([(p.partition, p.offset, p.metadata) for p in kept.topic_partitions]) + repr(vars(groups))


def _objects(stage: Stage) -> dict[str, bytes]:
    """Every object of the tables: metadata with properties and summaries, manifests, data."""
    storage = stage.platform.storage.filesystem()
    found = pyarrow.fs.FileSelector(stage.platform.bucket, recursive=True)
    names = [o.path for o in storage.get_file_info(found) if o.is_file and stage.table in o.path]
    assert any(name.endswith(".metadata.json") for name in names)
    return {name: storage.open_input_stream(name).read() for name in names}
