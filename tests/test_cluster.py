"""What a process knows of its Bytewax cluster: by options, by variables, and by the hostfile of Bytewax's chart."""

from __future__ import annotations

from pathlib import Path

import pytest

from neptune_flow.cluster import cluster_addresses


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hostfile of a pod of the chart, to be written."""
    monkeypatch.setenv("BYTEWAX_POD_NAME", "neptune-0")
    monkeypatch.setenv("BYTEWAX_STATEFULSET_NAME", "neptune")
    monkeypatch.setenv("BYTEWAX_HOSTFILE_PATH", str(tmp_path / "hostfile.txt"))
    return tmp_path / "hostfile.txt"


@pytest.mark.parametrize("options", [["-i", "0", "-a", "a:1;b:2"], ["--process-id=1", "--addresses=a:1;b:2"]])
def test_options_tell_it(options: list[str]) -> None:
    assert cluster_addresses(options) == ["a:1", "b:2"]


def test_variables_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYTEWAX_ADDRESSES", "a:1;b:2")
    assert cluster_addresses([]) == ["a:1", "b:2"]


def test_the_hostfile_of_bytewaxs_chart_tells_it(pod: Path) -> None:
    pod.write_text("a:1\nb:2\n\n")
    assert cluster_addresses([]) == ["a:1", "b:2"]


def test_a_single_pod_of_the_chart_is_of_no_cluster(pod: Path) -> None:
    pod.write_text("a:1\n")
    assert cluster_addresses([]) == []


def test_a_hostfile_without_a_number_of_the_process_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYTEWAX_HOSTFILE_PATH", "/nowhere")
    assert cluster_addresses(["-w", "2"]) == []
