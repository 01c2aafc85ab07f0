"""Builds the Dockerfile with buildah, which needs no engine, on a base made of Debian's packages, since no registry of images is asked.

    Debian's Python 3.11 ─mmdebstrap─► base ─┐
    Dockerfile, what .dockerignore lets in ──┴─buildah─► image

The base is not Python's own image, whose name the Dockerfile has: Python is Debian's, a few patches older, under the names that the other has in
/usr/local/bin; a pip is put where that image has its own. All else is the Dockerfile's. Images and layers are kept in the cache, so that a second
build takes seconds. Root is needed. What runs of the image is none of this module's business (`container`).
"""

from __future__ import annotations

import ast
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from neptune_flow import __version__
from tests.services.servers import ServerError
from tests.services.servers.fetch import cache_directory

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("buildah", "crun", "mmdebstrap")
"""Debian's packages of the same names."""
IMAGE = "localhost/neptune"
REVISION = "of the tests"
_BASE = f"{IMAGE}-base"
_PACKAGES = "python3.11,python3.11-venv,ca-certificates,netbase,tzdata"
_AS_IN_THE_OFFICIAL_IMAGE = (
    'ln -s /usr/bin/python3.11 "$1/usr/local/bin/python3.11"',
    'ln -s python3.11 "$1/usr/local/bin/python3"',
    'ln -s python3 "$1/usr/local/bin/python"',
    'mkdir -p "$1/usr/lib/python3.11/site-packages/pip"',
    r'printf "#!/bin/sh\n" >"$1/usr/local/bin/pip" && chmod +x "$1/usr/local/bin/pip"',
)
"""Commands of a shell whose `$1` is the base's root."""
_LIMIT_S = 1200.0
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
"""Of this machine's pip, what tells where packages are."""


def prepare() -> None:
    """Install what is missing with apt, where this user may.

    Raises:
        ServerError: it is missing, and could not be installed.
    """
    if all(map(shutil.which, PROGRAMS)) or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return _check()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PROGRAMS]):
        _run(["apt-get", *words], environment)
    return _check()


def _check() -> None:
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        raise ServerError(f"{', '.join(missing)}: not installed")
    if os.geteuid() != 0:
        raise ServerError("only root can build and run the image here")


def build() -> str:
    """Build the image of this checkout; returns its name, which is this image's for as long as nobody else may build (`alone`).

    Raises:
        ServerError: a program is missing, or the build failed; with its last words.
    """
    _check()
    if not buildah("images", "--quiet", "--filter", f"reference={_BASE}"):
        _make_base()
    with tempfile.TemporaryDirectory(dir=_store()) as scratch:
        options = [
            "bud", "--isolation=chroot", "--format=docker", "--layers", "--pull-never", f"--build-arg=PYTHON_IMAGE={_BASE}",
            *_secrets(Path(scratch)),
        ]  # fmt: skip
        # With names of their own these layers stay, when what nothing names goes.
        for stage in ("dependencies", "package"):
            buildah(*options, f"--target={stage}", f"--tag={IMAGE}-{stage}", str(ROOT))
        told = [f"--build-arg=VERSION={__version__}", f"--build-arg=REVISION={REVISION}"]
        buildah(*options, *told, f"--tag={IMAGE}", str(ROOT))
    with suppress(ServerError):  # an image whose container runs elsewhere stays
        buildah("rmi", "--prune")
    return IMAGE


def buildah(*words: str) -> str:
    """What buildah says to this, with its storage in the cache.

    Raises:
        ServerError: it failed; with its last words.
    """
    store = _store()
    places = [f"--root={store / 'storage'}", f"--runroot={store / 'run'}", f"--storage-driver={_driver()}"]
    return _run(["buildah", *places, *words], {**os.environ, "TMPDIR": str(store)})


@contextmanager
def alone() -> Iterator[None]:
    """For the length of a `with` block no other process builds; one that does is waited for."""
    with (_store() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _store() -> Path:
    store = cache_directory() / "image"
    store.mkdir(exist_ok=True)
    return store


@cache
def _driver() -> str:
    """`overlay` stores layers as differences; where the kernel or the file system has no such thing, `vfs` copies all."""
    with tempfile.TemporaryDirectory(dir=_store()) as scratch:
        places = [f"--root={scratch}/storage", f"--runroot={scratch}/run"]
        tried = subprocess.run(
            ["buildah", *places, "--storage-driver=overlay", "info"], check=False, capture_output=True
        )
        subprocess.run(["umount", f"{scratch}/storage/overlay"], check=False, capture_output=True)
    return "vfs" if tried.returncode else "overlay"


def _make_base() -> None:
    with tempfile.TemporaryDirectory(dir=_store()) as scratch:
        whole = f"{scratch}/base.tar"
        slim = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")]
        hooks = [f"--customize-hook={command}" for command in _AS_IN_THE_OFFICIAL_IMAGE]
        _run(["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", *slim, *hooks, "bookworm", whole])
        container = buildah("from", "scratch")
        buildah("add", container, whole, "/")
        buildah("commit", "--rm", container, _BASE)


def _secrets(scratch: Path) -> Iterator[str]:
    """This machine's pip configuration, handed to the build as the Dockerfile's head says; no layer keeps it."""
    told = _run([sys.executable, "-m", "pip", "config", "list"])
    pairs = (line.partition("=") for line in told.splitlines())
    options = {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, _, value in pairs}
    lines = ["[global]", *(f"{name} = {options[name]}" for name in _PIP_OPTIONS if name in options)]
    if authorities := options.get("cert"):
        lines.append("cert = /run/secrets/ca.pem")
        yield f"--secret=id=ca.pem,src={authorities}"
    (scratch / "pip.conf").write_text("\n".join(lines))
    yield f"--secret=id=pip.conf,src={scratch / 'pip.conf'}"


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    if done.returncode != 0:
        raise ServerError(
            f"{' '.join(command[:8])} … ended with {done.returncode}:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        )
    return done.stdout.strip()
