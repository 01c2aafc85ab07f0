"""A wall clock that is wrong, for one process: `clock.c` in front of the C library, built with the machine's C compiler.

Every reading of the wall clock passes there, Python's, Arrow's and librdkafka's; clocks that only measure lengths are left alone.
"""

from __future__ import annotations

import struct
import subprocess
import sysconfig
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")


def build(directory: Path) -> Path:
    """The library. Raises `CalledProcessError` or `FileNotFoundError` where there is no C compiler."""
    library = directory / "clock.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


class Offset:
    """How wrong the clock is; to be changed while a process looks at it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set_s(0)

    def set_s(self, seconds: int) -> None:
        """The clock shows the true time and so many seconds more."""
        with self._file.open("r+b" if self._file.exists() else "wb") as stream:
            stream.write(struct.pack("=q", seconds))

    def environment(self, library: Path) -> dict[str, str]:
        """What makes a process look at it."""
        return {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._file)}
