"""Which Bytewax cluster this process is of: what the engine was told, and does not tell its steps.

It is told by options, by variables, or as Bytewax's Helm chart does it: by a hostfile with an address a line, beside the names of the pod and of its
StatefulSet. The chart does so for a single pod, too, which has nobody to wait for: it is of no cluster. Nothing is asked of the engine or the network here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def cluster_addresses(options: Sequence[str] | None = None) -> list[str]:
    """The addresses of all processes of the cluster, this one among them; empty where it is of none.

    Args:
        options: Bytewax's; those of the command line where none are given.

    Raises:
        OSError: the hostfile cannot be read.
    """
    given = option("-a", "--addresses", "BYTEWAX_ADDRESSES", options)
    hostfile = os.environ.get("BYTEWAX_HOSTFILE_PATH")
    if given is not None:
        return given.split(";")
    if hostfile is None or not _has_number(options):
        return []
    addresses = [line.strip() for line in Path(hostfile).read_text().splitlines() if line.strip()]
    return addresses if len(addresses) > 1 else []


def _has_number(options: Sequence[str] | None) -> bool:
    """Whether the engine knows which of the processes this one is: without that it reads no hostfile."""
    named = "BYTEWAX_POD_NAME" in os.environ and "BYTEWAX_STATEFULSET_NAME" in os.environ
    return named or option("-i", "--process-id", "BYTEWAX_PROCESS_ID", options) is not None


def option(short: str, long: str, variable: str, options: Sequence[str] | None = None) -> str | None:
    """The value of one of Bytewax's options, from the command line or its variable; None where it was not given."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(short, long, dest="value", default=os.environ.get(variable))
    value: str | None = parser.parse_known_args(sys.argv[1:] if options is None else options)[0].value
    return value
