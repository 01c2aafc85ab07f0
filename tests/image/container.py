"""Runs the image as a hardened platform does: crun, the OCI runtime, with what the image says of user, environment, folder, entrypoint and command.

The root file system is read-only and `/tmp` is memory, all capabilities are gone, no new privileges can be had, and the program is process 1 of a
namespace of its own. The network is this machine's, so that it reaches the tests' servers. crun passes signals on, and ends with the program's exit code.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.image.build import alone, build, buildah

_LIMIT_S = 120.0
_CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")
_MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmp", "options": ["nosuid", "nodev", "mode=1777"]},
]
# crun refuses a machine with both kinds of control groups. It needs neither here, and is started where it sees one.
_BEHIND_THE_SECOND_KIND = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"',
    "sh",
)


class Image(NamedTuple):
    """What was built, and a folder where all its files are."""

    config: Mapping[str, Any]
    root: Path


class Container:
    """One container of the image; nothing runs until its command is started.

    Args:
        folder: for its configuration; each container needs its own.
        arguments: instead of the image's command.
        entrypoint: instead of the image's.
        settings: variables over the image's own.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        arguments: Sequence[str] | None = None,
        entrypoint: Sequence[str] | None = None,
        **settings: str,
    ) -> None:
        self._name = f"neptune-{secrets.token_hex(6)}"
        self._folder = folder
        words = [
            *(image.config["Entrypoint"] if entrypoint is None else entrypoint),
            *(image.config["Cmd"] if arguments is None else arguments),
        ]
        uid, _, gid = image.config["User"].partition(":")
        environment = [*image.config["Env"], *(f"{name}={value}" for name, value in settings.items())]
        specification = {
            "ociVersion": "1.0.2",
            "root": {"path": str(image.root), "readonly": True},
            "process": {
                "args": words,
                "user": {"uid": int(uid), "gid": int(gid)},
                "env": environment,
                "cwd": image.config["WorkingDir"],
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(_CAPABILITIES, ()),
            },
            "mounts": _MOUNTS,
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}]},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(specification))

    @property
    def command(self) -> list[str]:
        """What starts it in the foreground."""
        return self._crun("run", f"--bundle={self._folder}", self._name)

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return _told(self.command)

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one more command in it, as health checks are run."""
        return _told(self._crun("exec", self._name, *words))

    def close(self) -> None:
        """End and forget it, whatever state it is in."""
        _told(self._crun("delete", "--force", self._name))

    def _crun(self, *words: str) -> list[str]:
        state = self._folder / "state"
        return [*_BEHIND_THE_SECOND_KIND, "crun", f"--root={state}", "--cgroup-manager=disabled", *words]


@contextmanager
def built() -> Iterator[Image]:
    """The image of this checkout, its files for the length of a `with` block. Raises as `build` does."""
    with alone():
        name = build()
        config = json.loads(buildah("inspect", "--type=image", name))["Docker"]["config"]
        container = buildah("from", "--pull-never", name)
    try:
        yield Image(config, Path(buildah("mount", container)))
    finally:
        buildah("rm", container)


def _told(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_LIMIT_S
    )
