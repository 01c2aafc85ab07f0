"""compose.yaml, as Docker Compose's own loader reads it: what it starts, with which settings, and what it leaves open."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from neptune_flow.settings import Settings
from neptune_flow.settings.fields import all_docs
from neptune_flow.telemetry import otlp
from tests.compose import COMPOSE, INCLUDING, PROFILES, ROOT, rendered

Services = dict[str, dict[str, Any]]

OURS = ("neptune", "simulator")
"""Services of Neptune's own image."""
CHOICES = [(), *((profile,) for profile in PROFILES), PROFILES]
PROGRAMS = {
    "apache/kafka": {"bash"},  # its own start scripts are bash
    "quay.io/minio/minio": {"mc"},  # its Dockerfile copies it to /usr/bin
    "apache/iceberg-rest-fixture": {"curl"},  # its Dockerfile installs it for a health check of its own
    "prom/prometheus": {"wget"},  # busybox is its base
    "grafana/grafana": {"wget"},  # Alpine is its base
    "trinodb/trino": {"/usr/lib/trino/bin/health-check"},  # that of the image itself
}
"""What an image is known to have, and how that is known. Those of Tempo and the collector have nothing but themselves."""
KEPT = {"kafka": "/var/lib/kafka/data", "minio": "/data", "iceberg-rest": "/home/iceberg"}
"""Where what must outlive a container is written."""


@pytest.mark.parametrize("profiles", CHOICES, ids="+".join)
def test_both_places_mean_the_same_with_every_profile(loader: None, profiles: tuple[str, ...]) -> None:
    assert rendered(INCLUDING, *profiles) == rendered(COMPOSE, *profiles)


def test_without_a_profile_the_lake_and_neptune_are_started(loader: None) -> None:
    assert set(rendered()["services"]) == {"kafka", "topic", "minio", "iceberg-rest", "neptune"}


@pytest.mark.parametrize("name", OURS)
def test_what_neptune_is_told_are_its_settings_with_the_values_it_has_anyway(services: Services, name: str) -> None:
    environ = services[name]["environment"]
    defaults = {doc.name: doc.default for doc in all_docs()}
    own = {n: value for n, value in environ.items() if not n.startswith("OTEL_")}
    assert own.items() <= {**defaults, "NEPTUNE_GROUP_MODE": "true"}.items()
    Settings.load(environ)


def test_neptunes_share_the_topic_however_many_there_are(services: Services) -> None:
    neptune = services["neptune"]
    assert Settings.load(neptune["environment"]).kafka.group_mode
    assert not [name for name, service in services.items() if "container_name" in service]
    (port,) = neptune["ports"]
    first, last = map(int, port["published"].split("-"))
    assert last > first, "one port of the machine is enough for one Neptune alone"


def test_traces_are_sent_only_if_asked_for(loader: None, services: Services) -> None:
    assert not otlp.asked(services["neptune"]["environment"]).traces
    address = "http://otel-collector:4318/v1/traces"
    told = rendered(environ={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": address})["services"]["neptune"]["environment"]
    assert otlp.asked(told) == otlp.Asked(metrics=False, traces=True)


def test_neptune_has_the_time_and_the_memory_that_its_settings_plan_with(services: Services) -> None:
    neptune = services["neptune"]
    settings = Settings.load(neptune["environment"])
    assert seconds(neptune["stop_grace_period"]) > settings.drain_s_max
    assert int(neptune["mem_limit"]) >= settings.memory_bytes_max * 4 / 3


def test_keys_and_names_that_are_changed_are_changed_for_everyone(loader: None) -> None:
    given = {
        "MINIO_ACCESS_KEY": "other-key",
        "MINIO_SECRET_KEY": "other-secret",
        "MINIO_BUCKET": "other-bucket",
        "KAFKA_TOPIC": "other-topic",
    }
    names = {"MINIO_ROOT_USER": "other-key", "MINIO_ROOT_PASSWORD": "other-secret"}
    names |= {"AWS_ACCESS_KEY_ID": "other-key", "AWS_SECRET_ACCESS_KEY": "other-secret"}
    names |= {"CATALOG_WAREHOUSE": "s3://other-bucket/", **given}
    services = rendered(COMPOSE, *PROFILES, environ=given)["services"]
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            assert value == names.get(variable, value), f"{name} has another {variable}"
    assert "other-topic" in services["topic"]["command"]


def test_every_image_is_one_and_the_same_tomorrow(services: Services) -> None:
    for name, service in services.items():
        if name in OURS:
            assert Path(service["build"]["context"]) == ROOT
        else:
            assert re.search(r":(?!latest)[\w.-]*\d[\w.-]*$", service["image"]), f"{name}: {service['image']}"


def test_who_is_waited_for_can_be_asked(services: Services) -> None:
    waits = [
        (name, target, wait["condition"])
        for name, service in services.items()
        for target, wait in (service.get("depends_on") or {}).items()
    ]
    assert waits
    for name, target, condition in waits:
        if condition == "service_healthy":
            assert services[target]["healthcheck"].get("test"), f"{name} waits for the health of {target}"
        elif condition == "service_completed_successfully":
            assert services[target]["restart"] in ("no", "on-failure"), f"{name} waits for the end of {target}"
        else:
            assert "healthcheck" not in services[target], f"{name} could wait for the health of {target}"


def test_a_health_check_runs_what_its_image_has(services: Services) -> None:
    checks = {n: s["healthcheck"] for n, s in services.items() if s.get("healthcheck", {}).get("test")}
    assert checks
    for name, check in checks.items():
        form, program, *_ = check["test"]
        image = services[name]["image"].rpartition(":")[0]
        assert form == "CMD", f"{name}: without a shell in between"
        assert program in PROGRAMS[image], f"{name}: {image} may not have {program}"


def test_every_mounted_file_exists_and_cannot_be_written(services: Services) -> None:
    mounts = [(n, m) for n, s in services.items() for m in s.get("volumes") or () if m["type"] == "bind"]
    assert mounts
    for name, mount in mounts:
        assert Path(mount["source"]).is_relative_to(ROOT)
        assert Path(mount["source"]).exists(), f"{name}: {mount['source']}"
        assert mount["read_only"], f"{name}: {mount['source']}"


@pytest.mark.parametrize("name", KEPT)
def test_messages_tables_and_their_catalog_outlive_their_containers(services: Services, name: str) -> None:
    (mount,) = services[name]["volumes"]
    assert (mount["type"], mount["target"]) == ("volume", KEPT[name])
    written = [*services[name]["environment"].values(), *(services[name].get("command") or ())]
    assert any(KEPT[name] in text for text in written)


def test_no_port_is_open_to_other_machines_and_none_is_taken_twice(services: Services) -> None:
    ports = [port for service in services.values() for port in service.get("ports") or ()]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    taken: list[int] = []
    for port in ports:
        first, _, last = port["published"].partition("-")
        taken += range(int(first), int(last or first) + 1)
    assert len(taken) == len(set(taken))


def test_no_service_can_gain_rights_and_neptune_can_write_nothing(services: Services) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & {k for k, v in service.items() if v}
    for name in OURS:
        assert services[name]["read_only"]
        assert "user" not in services[name], "the image says who it runs as"
        assert not services[name].get("volumes")


def test_every_address_that_a_service_is_told_is_one_of_the_network(services: Services) -> None:
    address = re.compile(r"(?:(?:https?|PLAINTEXT)://|^)([a-z][a-z-]+):\d+")
    told = {(n, host) for n, s in services.items() for text in texts_of(s) for host in address.findall(text)}
    assert {host for _, host in told} >= {"kafka", "minio", "iceberg-rest", "prometheus", "tempo"}
    assert not [(name, host) for name, host in told if host not in {*services, "localhost"}]


def test_trino_and_grafana_are_given_what_their_files_ask_the_environment_for(services: Services) -> None:
    asked = {
        "trino": (r"\$\{ENV:(\w+)\}", ["deploy/compose/trino-iceberg.properties"]),
        "grafana": (r"\$([A-Z_]+)", ["observability/grafana/provisioning/datasources/neptune.yaml"]),
    }
    for name, (pattern, files) in asked.items():
        found = {variable for file in files for variable in re.findall(pattern, (ROOT / file).read_text())}
        assert found
        assert found <= set(services[name]["environment"])


def test_grafana_finds_the_dashboards_where_its_provider_looks(services: Services) -> None:
    provider = (ROOT / "observability/grafana/provisioning/dashboards/neptune.yaml").read_text()
    (folder,) = re.findall(r"path: (\S+)", provider)
    mounted = {m["target"]: Path(m["source"]).name for m in services["grafana"]["volumes"]}
    dashboards = {path.name for path in (ROOT / "observability/grafana").glob("*.json")}
    assert {Path(target).name for target in mounted if Path(target).parent == Path(folder)} == dashboards


def test_docs_have_every_service_with_its_image_and_every_variable(services: Services) -> None:
    page = (ROOT / "docs" / "compose.md").read_text()
    rows = {re.findall(r"`([^`]+)`", line)[0]: line for line in page.splitlines() if line.startswith("| `")}
    for name, service in services.items():
        assert name in rows
        assert name in ("neptune", "topic", "simulator") or service["image"] in rows[name]
        for port in service.get("ports") or ():
            assert port["published"].partition("-")[0] in rows[name]
    variables = re.findall(r"\$\{([A-Z_]+)", COMPOSE.read_text())
    assert not [variable for variable in variables if f"`{variable}`" not in page]


def seconds(duration: str) -> float:
    """The seconds of a duration such as `1m30s`."""
    return sum(int(n) * {"h": 3600, "m": 60, "s": 1}[unit] for n, unit in re.findall(r"(\d+)([hms])", duration))


def texts_of(service: dict[str, Any]) -> list[str]:
    """What a service is told: its environment, its command, and the files that are mounted from `deploy`."""
    files = [Path(m["source"]) for m in service.get("volumes") or () if "/deploy/" in m.get("source", "")]
    return [
        *(service.get("environment") or {}).values(),
        *(service.get("command") or ()),
        *(file.read_text() for file in files),
    ]
