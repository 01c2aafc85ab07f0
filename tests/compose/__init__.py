"""What the tests of `compose.yaml` share: the file as Docker Compose understands it, without an engine.

`render/` is the loader that Docker Compose itself uses, built with Go into the cache of test programs in some seconds.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.services.servers import ServerError, fetch

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose.yaml"
INCLUDING = ROOT / "Infrastructure" / "docker-compose.yml"
PROFILES = ("simulator", "observability", "sql")
VERSION = "v2.16.2"
"""Of compose-go, as in render/go.mod."""


def prepare() -> Path:
    """The loader; built if need be. Raises `ServerError` where that fails."""
    return fetch.go_program("compose-render", VERSION, Path(__file__).parent / "render")


def rendered(file: Path = COMPOSE, *profiles: str, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The project that a compose file makes with these profiles, and with no environment but `environ`.

    Raises:
        ServerError: the file breaks Compose's schema, or a service needs one that is not there; with Compose's words.
    """
    with tempfile.TemporaryDirectory() as name:  # a developer's own .env and neptune.env are not there
        scratch = Path(name).resolve()
        for one in (COMPOSE, INCLUDING):
            copy = scratch / one.relative_to(ROOT)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(one, copy)
        done = subprocess.run(
            [prepare(), scratch / file.relative_to(ROOT), *profiles],
            env=dict(environ or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    if done.returncode != 0:
        raise ServerError(done.stderr)
    project: dict[str, Any] = json.loads(done.stdout.replace(str(scratch), str(ROOT)))
    return {name: part for name, part in project.items() if not name.startswith("x-")}  # pieces that the file repeats
