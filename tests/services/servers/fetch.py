"""Fetches the servers' programs once and keeps them: jars from Maven, MinIO built with Go.

The cache is the directory named by `NEPTUNE_TEST_CACHE`, by default `~/.cache/neptune-test-servers`. Processes that
fetch at the same time wait for each other on a lock file; a fetch that was cut off leaves nothing that a later one
takes for whole. Registries are reached through their ordinary clients (jgo, Go) with the configuration those have.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.services.servers.process import ServerError

ATTEMPTS_MAX = 4
_BACKOFF_S = 2.0
_DOWNLOADS_AT_ONCE = 6
_HTTP_TIMEOUT_S = 60
_BUILD_LIMIT_S = 1200.0

T = TypeVar("T")


def cache_directory() -> Path:
    """The directory of fetched programs; it is made if missing."""
    default = Path.home() / ".cache" / "neptune-test-servers"
    directory = Path(os.environ.get("NEPTUNE_TEST_CACHE") or default).expanduser().resolve()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    with (cache_directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _with_retries(what: str, attempt: Callable[[], T]) -> T:
    for number in range(1, ATTEMPTS_MAX + 1):
        try:
            return attempt()
        except Exception as error:
            if number == ATTEMPTS_MAX:
                raise ServerError(f"{what}: not fetched in {ATTEMPTS_MAX} attempts; the last said: {error}") from error
            time.sleep(_BACKOFF_S * 2 ** (number - 1))
    raise AssertionError("unreachable")


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def jars(name: str, coordinates: Sequence[str]) -> list[Path]:
    """The jars of these Maven coordinates (`group:artifact:version[:classifier]`) and of all they need to run.

    Where two of them need different versions of a third, the nearest declaration wins, as in Maven.

    Raises:
        ServerError: a jar could not be fetched.
    """
    digest = hashlib.sha256("\n".join(coordinates).encode()).hexdigest()[:12]
    listing = cache_directory() / "classpaths" / f"{name}-{digest}.txt"
    with _locked("maven"):
        if found := _listed(listing):
            return found
        paths = _with_retries(f"jars of {name}", lambda: _resolve(coordinates))
        _write_whole(listing, "\n".join(str(path.relative_to(cache_directory())) for path in paths))
        return paths


def _listed(listing: Path) -> list[Path]:
    """The jars of an earlier resolution, or none if one of them is gone."""
    if not listing.exists():
        return []
    paths = [cache_directory() / line for line in listing.read_text().splitlines()]
    return paths if all(path.exists() for path in paths) else []


def _resolve(coordinates: Sequence[str]) -> list[Path]:
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    repository = cache_directory() / "maven"
    _drop_torn_files(repository)
    context = MavenContext(
        repo_cache=repository,
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
        timeout=_HTTP_TIMEOUT_S,
    )
    wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
    for dependency in wanted:
        dependency.scope = "compile"
        dependency.raw = True  # else jgo lets each coordinate's own version list rule over the others' dependencies
    named, needed = context.resolver.resolve(wanted)
    artifacts = [d.artifact for d in (*named, *(d for d in needed if d.scope in ("compile", "runtime")))]
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        return [Path(path) for path in pool.map(lambda artifact: artifact.resolve(), artifacts)]


def _drop_torn_files(repository: Path) -> None:
    """Remove what a download that was cut off left behind: jgo writes files in place and takes any for whole."""
    for jar in repository.rglob("*.jar"):
        if not zipfile.is_zipfile(jar):
            jar.unlink()
    for pom in repository.rglob("*.pom"):
        if not pom.read_bytes().rstrip().endswith(b"</project>"):
            pom.unlink()


def go_binary(name: str, module: str, version: str) -> Path:
    """The program that `go install module@version` builds; built once, some minutes cold.

    Raises:
        ServerError: Go is missing or the build failed.
    """
    return _built(name, version, lambda binary: _go_install(name, f"{module}@{version}", binary))


def go_binary_path(name: str, version: str) -> Path:
    """Where `go_binary` keeps this program."""
    return cache_directory() / "bin" / f"{name}-{version}"


def go_program(name: str, version: str, source: Path) -> Path:
    """The program whose `main.go` and `go.mod` are in the folder `source`; built once.

    Raises:
        ServerError: Go is missing or the build failed.
    """
    return _built(name, version, lambda binary: _go_build(name, source, binary))


def _built(name: str, version: str, build: Callable[[Path], None]) -> Path:
    binary = go_binary_path(name, version)
    with _locked(name):
        if not binary.exists():
            _with_retries(f"{name} {version}", lambda: build(binary))
    return binary


def _go_install(name: str, target: str, binary: Path) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=binary.parent) as built:
        _go(name, ["install", target], {"GOBIN": built})
        shutil.move(Path(built) / name, binary)


def _go_build(name: str, source: Path, binary: Path) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=binary.parent) as built:
        for file in ("main.go", "go.mod"):
            shutil.copy(source / file, built)
        _go(name, ["mod", "tidy"], {}, built)
        _go(name, ["build", "-o", name, "."], {}, built)
        shutil.move(Path(built) / name, binary)


def _go(name: str, arguments: Sequence[str], changes: Mapping[str, str], folder: str | None = None) -> None:
    go = shutil.which("go")
    if go is None:
        raise ServerError(f"building {name} needs Go, and there is no `go` on the PATH")
    done = subprocess.run(
        [go, *arguments],
        check=False,
        cwd=folder,
        env={**os.environ, **changes, "CGO_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BUILD_LIMIT_S,
    )
    if done.returncode != 0:
        raise ServerError(f"`go {' '.join(arguments)}` ended with {done.returncode}:\n{done.stdout[-2000:]}")


def wheel_binary(distribution: str, name: str) -> Path:
    """The program of this name that an installed Python distribution carries.

    Raises:
        ServerError: the distribution is not installed, or does not carry it.
    """
    from importlib.metadata import PackageNotFoundError, files

    try:
        found = [Path(str(file.locate())) for file in files(distribution) or () if file.name == name]
    except PackageNotFoundError:
        found = []
    if not found or not found[0].exists():
        raise ServerError(f"{name} is missing: install the Python package {distribution}")
    return found[0].resolve()
