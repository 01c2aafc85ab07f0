"""Renders the kustomizations, each once; without kustomize the tests are skipped, in CI they fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.k8s.reading import block
from tests.k8s.tools import K8S, Manifest, render
from tests.services.conftest import without_servers
from tests.services.servers import ServerError

OWN = "own"
"""The overlay that docs/kubernetes.md tells people to write: on top of production, with the operators' components."""
SHAPES = ("base", "overlays/small", "overlays/production", OWN)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Manifest]]:
    """What each shape of SHAPES renders to."""
    copy = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(K8S, copy)
    own = copy / "overlays" / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text(block("k8s/overlays/own/kustomization.yaml"))
    return cache(lambda shape: rendered_or_skipped(copy / ("overlays/own" if shape == OWN else shape)))


@pytest.fixture(params=SHAPES)
def manifests(request: pytest.FixtureRequest, rendered: Callable[[str], list[Manifest]]) -> list[Manifest]:
    """The manifests of each shape in turn."""
    return rendered(request.param)


def rendered_or_skipped(folder: Path) -> list[Manifest]:
    """As `render`; a missing kustomize skips the test."""
    try:
        return render(folder)
    except ServerError as error:
        without_servers(error)
        raise AssertionError("unreachable") from error
