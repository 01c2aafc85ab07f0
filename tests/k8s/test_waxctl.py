"""k8s/waxctl fits Bytewax's chart: its values are settings that load, and what it mends in the chart's rendering is mended.

`chart.yaml` stands for the rendering; the processes themselves are tried in tests/services/test_chart.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from neptune_flow.settings import Settings
from tests.k8s.conftest import rendered_or_skipped
from tests.k8s.reading import MEMORY_SHARE, container_of, known_names, size, with_files
from tests.k8s.tools import K8S, VERSIONS, Manifest, complaints

WAXCTL = K8S / "waxctl"
VALUES: dict[str, Any] = yaml.safe_load((WAXCTL / "values.yaml").read_text())
CHARTS_GRACE_S = 10


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The chart's StatefulSet after k8s/waxctl."""
    folder = shutil.copytree(WAXCTL, tmp_path_factory.mktemp("waxctl") / "waxctl")
    shutil.copyfile(Path(__file__).with_name("chart.yaml"), folder / "rendered.yaml")
    (manifest,) = rendered_or_skipped(folder)
    return manifest


def test_the_values_are_settings_that_load_and_drain_within_the_charts_grace(tmp_path: Path) -> None:
    assert set(VALUES["env"]) - known_names() == {"TMPDIR"}
    assert all(isinstance(value, str) for value in VALUES["env"].values())
    settings = Settings.load(with_files(VALUES["env"], tmp_path))
    assert settings.drain_s_max < CHARTS_GRACE_S
    assert not settings.kafka.group_mode
    assert VALUES["api"]["port"] == settings.http_port
    assert size(VALUES["resources"]["limits"]["memory"]) >= MEMORY_SHARE * settings.memory_bytes_max


def test_the_values_give_no_more_rights_than_neptunes_own_manifests() -> None:
    pod, container = VALUES["podSecurityContext"], VALUES["securityContext"]
    assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]) == (True, 65532, {"type": "RuntimeDefault"})
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": []},
    }


def test_a_process_that_ended_is_started_again() -> None:
    assert VALUES["configuration"]["keepAlive"] is False


@pytest.mark.parametrize("version", VERSIONS)
def test_the_mended_workload_is_one_that_kubernetes_takes(mended: Manifest, version: str) -> None:
    assert list(complaints(mended, version)) == []


def test_no_shell_stands_before_neptune_and_none_before_the_store(mended: Manifest) -> None:
    template = mended["spec"]["template"]
    assert not {"command", "args"} & set(container_of(template))
    assert [c["name"] for c in template["spec"]["initContainers"]] == ["init-hostfile"]


def test_the_mended_pod_has_time_to_drain(mended: Manifest, tmp_path: Path) -> None:
    pod = mended["spec"]["template"]["spec"]
    own = {e["name"]: e["value"] for e in pod["containers"][0]["env"] if e["name"].startswith("NEPTUNE_")}
    settings = Settings.load(with_files({**VALUES["env"], **own}, tmp_path))
    assert settings.drain_s_max == 30
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_s_max + 10


def test_processes_that_look_for_each_other_need_not_be_ready_for_it(mended: Manifest) -> None:
    container = container_of(mended["spec"]["template"])
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": VALUES["api"]["port"]}
    assert "readinessProbe" not in container
    assert mended["spec"]["updateStrategy"] == {"type": "OnDelete"}


def test_the_image_for_waxctl_alone_starts_the_file_that_waxctl_was_given(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    (tmp_path / "dataflow.py").write_text("import os; print(os.getcwd(), __file__)")
    done = subprocess.run(
        ["sh", "-c", "sh ./entrypoint-recovery.sh && sh ./entrypoint.sh"],
        check=True,
        capture_output=True,
        text=True,
        cwd=WAXCTL,
        env={
            "PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin",
            "BYTEWAX_WORKDIR": str(tmp_path),
            "BYTEWAX_PYTHON_FILE_PATH": str(tmp_path / "dataflow.py"),
        },
    )
    assert done.stdout.split() == [str(tmp_path), str(tmp_path / "dataflow.py")]
