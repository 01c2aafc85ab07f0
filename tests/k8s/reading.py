"""What the tests read out of manifests and out of docs/kubernetes.md: pods, containers, the environment that each gets, the secret's files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neptune_flow.settings import Settings
from neptune_flow.settings.fields import all_docs
from tests.k8s.tools import ROOT, Manifest

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
SECRET_FOLDER = "/etc/neptune/secret"
MEMORY_SHARE = 1.35
"""What a container needs above NEPTUNE_MEMORY_BYTES_MAX: docs/operations.md, Sizing."""
_UNITS = {"Mi": 2**20, "Gi": 2**30}


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [m for m in manifests if m["kind"] == kind]
    return found


def pod_templates(manifests: list[Manifest]) -> Iterator[Manifest]:
    """The template of every pod that the manifests make."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if "jobTemplate" in spec:
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield spec["template"]


def container_of(template: Manifest) -> Manifest:
    (container,) = template["spec"]["containers"]
    return dict(container)


def environment(manifests: list[Manifest], container: Manifest, pod: str = "neptune-0") -> dict[str, str]:
    """The environment that the container gets."""
    config = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    names = [source["configMapRef"]["name"] for source in container["envFrom"]]
    environ: dict[str, str] = {name: value for source in names for name, value in config[source].items()}
    for entry in container["env"]:
        environ[entry["name"]] = entry["value"] if "value" in entry else field(entry, pod)
    return environ


def field(entry: Mapping[str, Any], pod: str) -> str:
    assert entry["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    return pod


def with_files(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The same, with the files of the secret that docs/kubernetes.md tells people to make laid into a folder of the test."""
    for name, content in secret_files().items():
        (folder / name).write_text(content)
    return {name: value.replace(SECRET_FOLDER, str(folder)) for name, value in environ.items()}


def secret_files() -> dict[str, str]:
    """Name and content of each file of the secret, from the commands in docs/kubernetes.md."""
    literals = re.findall(r"--from-literal=([\w.-]+)=(\S+)", PAGE)
    files = re.findall(r"--from-file=([\w.-]+)", PAGE)
    return {**dict(literals), **{name: block(name) for name in files}}


def settings_of(manifests: list[Manifest], container: Manifest, folder: Path) -> Settings:
    return Settings.load(with_files(environment(manifests, container), folder))


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def size(text: str) -> int:
    return int(text[:-2]) * _UNITS[text[-2:]]


def block(title: str) -> str:
    """The code block of docs/kubernetes.md under the line that names this file."""
    (found,) = re.findall(rf"^`{re.escape(title)}`:\n\n```[a-z]+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def known_names() -> set[str]:
    """Every name that a setting may have in an environment."""
    return {doc.name for doc in all_docs()} | {f"{doc.name}_FILE" for doc in all_docs() if doc.secret}
