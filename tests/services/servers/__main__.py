"""`python -m tests.services.servers prepare` fetches the servers; `… up` runs them until it is told to end.

`up` prints Neptune's settings as `export NAME=value` lines and the servers' processes on standard output, then stays in the foreground until
SIGINT or SIGTERM, and stops every server.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import time

from tests.services.servers import prometheus
from tests.services.servers.fetch import cache_directory
from tests.services.servers.platform import Platform, prepare
from tests.services.servers.process import ServerError
from tests.services.servers.storage import chosen_kind, in_ci


def main() -> int:
    """Run the command line's command. The exit status is 1 if a server could not be fetched or started."""
    parser = argparse.ArgumentParser(prog="python -m tests.services.servers", description=__doc__)
    parser.add_argument("command", choices=("prepare", "up"))
    commands = {"prepare": _prepare, "up": _up}
    try:
        commands[parser.parse_args().command]()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _prepare() -> None:
    began = time.monotonic()
    print(f"fetching Kafka, the REST catalog, {chosen_kind()} and Prometheus into {cache_directory()}", file=sys.stderr)
    prepare()
    try:
        prometheus.prepare()
    except ServerError as error:
        if in_ci():
            raise
        print(f"tests with Prometheus will be skipped: {error}", file=sys.stderr)
    print(f"ready after {time.monotonic() - began:.1f} s", file=sys.stderr)


def _up() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        prepare()
        with Platform() as platform:
            for name, value in platform.settings().items():
                print(f"export {name}={shlex.quote(value)}")
            for server in (*platform.kafka.nodes, platform.storage, platform.catalog):
                print(f"# {server.name} is process {server.pid}")
            sys.stdout.flush()
            while True:
                signal.pause()


if __name__ == "__main__":
    sys.exit(main())
