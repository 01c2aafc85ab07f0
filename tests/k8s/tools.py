"""What the tests of the manifests need from outside: kustomize, and the schemas of Kubernetes and of the operators' own resources.

Kubernetes' schemas come with a Python package. Those of KEDA and of the Prometheus operator are taken from their Go modules. Nothing is known
here of what the manifests should say.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from tests.services.servers import ServerError, fetch

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"

VERSIONS = ("1.31", "1.37")
"""The oldest Kubernetes that docs/kubernetes.md names, and the newest that the schemas know."""

Manifest = dict[str, Any]

_KUSTOMIZE = ("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", "v5.6.0")
_OPERATORS = {
    "ScaledObject": ("github.com/kedacore/keda/v2@v2.16.1", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "PodMonitor": (
        "github.com/prometheus-operator/prometheus-operator@v0.79.2",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
}
_DOWNLOAD_S_MAX = 300.0


def prepare() -> Path:
    """Build and fetch what is missing; returns the program. Raises `ServerError` where that fails."""
    for kind in _OPERATORS:
        _definition(kind)
    return fetch.go_binary(*_KUSTOMIZE)


def render(folder: Path) -> list[Manifest]:
    """The manifests that a kustomization makes.

    Raises:
        ServerError: there is no kustomize.
        AssertionError: it does not render; with kustomize's words.
    """
    done = subprocess.run([prepare(), "build", folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def complaints(manifest: Manifest, version: str) -> Iterator[str]:
    """What this version of Kubernetes, or the operator, would not take; a field that it does not know is one."""
    where = f"{manifest['kind']}/{manifest['metadata']['name']}"
    try:
        if manifest["kind"] in _OPERATORS:
            jsonschema.validate(manifest, _schema(manifest["kind"], manifest["apiVersion"]))
        else:
            kubernetes_validate.validate(manifest, version, strict=True)
    except jsonschema.ValidationError as error:
        yield f"{where} {'.'.join(map(str, error.path))}: {error.message}"


def _schema(kind: str, api_version: str) -> Any:
    definition = yaml.safe_load(_definition(kind).read_text())
    versions = {f"{definition['spec']['group']}/{v['name']}": v for v in definition["spec"]["versions"]}
    return _closed({**versions[api_version]["schema"]["openAPIV3Schema"]})


def _closed(schema: Any) -> Any:
    """The same, with unknown fields refused, as `kubectl` does with `--validate=strict`. What every resource has is not described."""
    if not isinstance(schema, Mapping):
        return [_closed(part) for part in schema] if isinstance(schema, list) else schema
    closed = {name: _closed(part) for name, part in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def _definition(kind: str) -> Path:
    """The operator's definition of this kind, kept in the cache."""
    module, path = _OPERATORS[kind]
    kept = fetch.cache_directory() / "crds" / f"{module.replace('/', '_')}-{Path(path).name}"
    if not kept.exists():
        go = shutil.which("go")
        if go is None:
            raise ServerError(f"the definition of {kind} is fetched with Go, and there is no `go` on the PATH")
        done = subprocess.run(
            [go, "mod", "download", "-json", module],
            check=False,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_S_MAX,
        )
        if done.returncode != 0:
            raise ServerError(f"`go mod download {module}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        shutil.copyfile(Path(json.loads(done.stdout)["Dir"]) / path, partial)
        partial.replace(kept)
    return kept
