"""What is in the image, what it says of itself, and that its program does its work where nothing can be written."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from neptune_flow import __version__
from neptune_flow.cli import COMMANDS
from tests.image.build import REVISION, ROOT
from tests.image.container import Container, Image

DOCKERFILES = sorted(path.relative_to(ROOT) for path in [ROOT / "Dockerfile", *(ROOT / "k8s").rglob("Dockerfile")])
IMPORTS = """
import importlib, os, pkgutil, sys
import neptune_flow

names = [m.name for m in pkgutil.walk_packages(neptune_flow.__path__, "neptune_flow.") if not m.name.endswith(".__main__")]
for name in names:
    importlib.import_module(name)
compiled = {m.__name__: m.__cached__ for m in list(sys.modules.values()) if getattr(m, "__cached__", None)}
print(len(names), *(name for name, file in compiled.items() if not os.path.exists(file)))
"""


def run(image: Image, folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Any command in a container of the image."""
    return Container(image, folder, words, (), **settings).run()


@pytest.mark.parametrize("file", DOCKERFILES, ids=str)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, file], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_it_starts_neptune_itself_so_that_signals_reach_it_as_a_user_without_rights(image: Image) -> None:
    config = image.config
    assert (config["Entrypoint"], config["Cmd"]) == (["neptune"], ["run"])
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "65532:65532"


def test_its_labels_name_version_and_revision(image: Image, tmp_path: Path) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == REVISION
    assert run(image, tmp_path, "neptune", "--version").stdout == f"neptune, version {__version__}\n"


def test_what_built_it_is_gone(image: Image, tmp_path: Path) -> None:
    tools = ["pip", "pip3", "gcc", "cc", "g++", "ld", "make", "git", "wheel"]
    found = run(image, tmp_path, "sh", "-c", f"for tool in {' '.join(tools)}; do command -v $tool; done; true")
    assert (found.returncode, found.stdout) == (0, "")
    for number, python in enumerate(("python", "/usr/local/bin/python")):
        for module in ("pip", "ensurepip", "setuptools"):
            done = run(image, tmp_path / f"{number}-{module}", python, "-m", module, "--version")
            assert f"No module named {module}" in done.stderr
    assert [
        folder for folder in ("build", "package", "opt/pip", "var/cache/pip") if (image.root / folder).exists()
    ] == []


def test_none_of_its_files_can_be_changed_by_its_user(image: Image) -> None:
    def is_open(path: Path) -> bool:
        status = path.lstat()
        is_shared = stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX
        return status.st_uid == 65532 or status.st_gid == 65532 or bool(status.st_mode & stat.S_IWOTH and not is_shared)

    files = [path for folder in ("opt", "app", "usr", "etc") for path in (image.root / folder).rglob("*")]
    assert len(files) > 5_000
    assert [path for path in files if is_open(path)] == []


def test_every_module_can_be_imported_and_none_has_to_be_compiled_first(image: Image, tmp_path: Path) -> None:
    done = run(image, tmp_path, "python", "-c", IMPORTS)
    assert done.returncode == 0, done.stderr
    count, *uncompiled = done.stdout.split()
    assert int(count) > 100
    assert uncompiled == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there(image: Image, tmp_path: Path, command: str) -> None:
    done = Container(image, tmp_path, [command, "--help"]).run()
    assert done.returncode == 0, done.stderr
    assert f"neptune {command}" in done.stdout


@pytest.mark.parametrize(
    "words",
    [["neptune", "run"], ["python", "-m", "bytewax.run", "dataflow:flow", "-s", "1"], ["python", "dataflow.py"]],
)
def test_each_way_to_start_it_begins_in_its_folder_and_ends_with_neptunes_exit_code(
    image: Image, tmp_path: Path, words: list[str]
) -> None:
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:1", "NEPTUNE_START_WAIT_S_MAX": "0", "NEPTUNE_HTTP_PORT": "0"}
    done = run(image, tmp_path, *words, **nowhere)
    said = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert done.returncode == 69, done.stderr
    assert [event["error"] for event in said if event["event"] == "stopped"] == ["Unavailable"]


def test_the_whole_job_of_the_demo_needs_no_place_but_tmp(image: Image, tmp_path: Path) -> None:
    done = Container(image, tmp_path, ["demo", "--seconds", "3"]).run()
    assert done.returncode == 0, done.stdout + done.stderr
