"""The manifests of k8s/ render, are what Kubernetes and Neptune take, and agree with each other and with docs/kubernetes.md."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from neptune_flow import __version__, cli
from neptune_flow.settings import Settings
from neptune_flow.settings.fields import all_docs
from tests.k8s.conftest import OWN
from tests.k8s.reading import (
    MEMORY_SHARE,
    PAGE,
    SECRET_FOLDER,
    container_of,
    environment,
    known_names,
    matches,
    of_kind,
    pod_templates,
    secret_files,
    settings_of,
    size,
    with_files,
)
from tests.k8s.tools import K8S, ROOT, VERSIONS, Manifest, complaints


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_one_that_kubernetes_takes_to_the_letter(manifests: list[Manifest], version: str) -> None:
    assert [words for m in manifests for words in complaints(m, version)] == []


@pytest.mark.parametrize("kind", ["StatefulSet", "ScaledObject", "PodMonitor"])
def test_a_field_that_is_misspelt_is_found(rendered: Callable[[str], list[Manifest]], kind: str) -> None:
    manifest = copy.deepcopy(of_kind(rendered(OWN), kind))
    manifest["spec"]["podManagmentPolicy"] = "Parallel"
    (words,) = complaints(manifest, VERSIONS[-1])
    assert "podManagmentPolicy" in words


def test_every_variable_is_a_setting_and_all_together_load(manifests: list[Manifest], tmp_path: Path) -> None:
    for template in pod_templates(manifests):
        container = container_of(template)
        assert set(environment(manifests, container)) <= known_names()
        settings_of(manifests, container, tmp_path)


def test_the_pods_are_members_of_one_group_each_by_its_own_name(manifests: list[Manifest], tmp_path: Path) -> None:
    container = container_of(of_kind(manifests, "StatefulSet")["spec"]["template"])
    environs = [with_files(environment(manifests, container, f"neptune-{n}"), tmp_path) for n in range(2)]
    kafka = [Settings.load(environ).kafka for environ in environs]
    assert all(k.group_mode for k in kafka)
    assert [k.group_instance_id for k in kafka] == ["neptune-0", "neptune-1"]


def test_the_pod_has_time_to_drain_and_room_for_its_plan(manifests: list[Manifest], tmp_path: Path) -> None:
    pod = of_kind(manifests, "StatefulSet")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    settings = settings_of(manifests, container, tmp_path)
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_s_max + 10
    assert size(container["resources"]["limits"]["memory"]) >= MEMORY_SHARE * settings.memory_bytes_max
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


def test_probes_and_names_of_ports_lead_to_neptunes_port(manifests: list[Manifest], tmp_path: Path) -> None:
    container = container_of(of_kind(manifests, "StatefulSet")["spec"]["template"])
    (port,) = container["ports"]
    assert port["containerPort"] == settings_of(manifests, container, tmp_path).http_port
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {p["path"] for p in probes.values()} == {"/livez", "/readyz"}
    named = [p["port"] for p in probes.values()]
    named += [p["targetPort"] for p in of_kind(manifests, "Service")["spec"]["ports"]]
    named += [p["port"] for rule in of_kind(manifests, "NetworkPolicy")["spec"]["ingress"] for p in rule["ports"]]
    named += [e["port"] for m in manifests if m["kind"] == "PodMonitor" for e in m["spec"]["podMetricsEndpoints"]]
    assert set(named) == {port["name"]}


def test_no_pod_may_do_what_it_need_not(manifests: list[Manifest]) -> None:
    for template in pod_templates(manifests):
        pod, container = template["spec"], container_of(template)
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"emptyDir", "secret"}


def test_selectors_find_the_members_and_the_policy_holds_for_all(manifests: list[Manifest]) -> None:
    stateful = of_kind(manifests, "StatefulSet")["spec"]
    members = stateful["template"]["metadata"]["labels"]
    others = [t["metadata"]["labels"] for t in pod_templates(manifests) if t["metadata"]["labels"] != members]
    selectors = [
        stateful["selector"]["matchLabels"],
        of_kind(manifests, "Service")["spec"]["selector"],
        of_kind(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *(c["labelSelector"]["matchLabels"] for c in stateful["template"]["spec"]["topologySpreadConstraints"]),
        *(m["spec"]["selector"]["matchLabels"] for m in manifests if m["kind"] == "PodMonitor"),
    ]
    assert all(matches(s, members) for s in selectors)
    assert not [s for s in selectors for labels in others if matches(s, labels)]
    policy = of_kind(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert all(matches(policy, labels) for labels in [members, *others])


def test_a_node_can_be_drained_while_kafka_is_away(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_secrets_come_from_files_of_the_one_secret_that_the_page_makes(manifests: list[Manifest]) -> None:
    made = {f"{SECRET_FOLDER}/{name}" for name in secret_files()}
    for template in pod_templates(manifests):
        container = container_of(template)
        environ = environment(manifests, container)
        assert {value for name, value in environ.items() if name.endswith("_FILE")} <= made
        assert not [doc.name for doc in all_docs() if doc.secret and doc.name in environ]
        assert {m["mountPath"] for m in container["volumeMounts"]} == {SECRET_FOLDER, "/tmp"}
        assert [v["secret"]["secretName"] for v in template["spec"]["volumes"] if "secret" in v] == ["neptune"]


def test_all_containers_have_the_same_image_with_an_exact_tag(manifests: list[Manifest]) -> None:
    (image,) = {container_of(t)["image"] for t in pod_templates(manifests)}
    assert re.fullmatch(r"[\w./-]*neptune:\d+\.\d+\.\d+", image)


def test_every_tag_in_the_folder_is_that_of_this_version() -> None:
    texts = [path.read_text() for path in K8S.rglob("*") if path.is_file()] + [PAGE]
    tags = [
        t for text in texts for t in re.findall(r"""(?:\b(?:newT|t)ag: |neptune:|--image-tag )"?(\d+\.[\w.]+)""", text)
    ]
    assert len(tags) >= 5
    assert set(tags) == {__version__.split(".dev")[0]}


def test_what_the_containers_are_told_to_do_are_commands_of_neptune(manifests: list[Manifest]) -> None:
    for template in pod_templates(manifests):
        assert CliRunner().invoke(cli.main, [*container_of(template)["args"], "--help"]).exit_code == 0


def test_keda_looks_at_neptunes_topic_and_nobody_undoes_what_it_decides(
    rendered: Callable[[str], list[Manifest]],
) -> None:
    manifests = rendered(OWN)
    (trigger,) = of_kind(manifests, "ScaledObject")["spec"]["triggers"]
    stateful = of_kind(manifests, "StatefulSet")
    config = environment(manifests, container_of(stateful["spec"]["template"]))
    assert trigger["metadata"]["bootstrapServers"] == config["KAFKA_BOOTSTRAP_SERVERS"]
    assert trigger["metadata"]["consumerGroup"] == config["KAFKA_CONSUMER_GROUP"]
    assert trigger["metadata"]["topic"] == config["KAFKA_TOPIC"]
    assert "replicas" not in stateful["spec"]
    target = of_kind(manifests, "ScaledObject")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": stateful["metadata"]["name"]}


def test_every_path_of_the_folder_that_the_page_names_exists() -> None:
    named = set(re.findall(r"\bk8s/[\w./-]*\w", PAGE)) - {"k8s/overlays/own", "k8s/overlays/own/kustomization.yaml"}
    named -= {"k8s/waxctl/rendered.yaml"}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    assert [p.name for p in sorted(K8S.iterdir()) if f"k8s/{p.name}" not in PAGE] == []
