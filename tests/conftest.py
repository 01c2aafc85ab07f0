"""What all tests share: property tests without a deadline, and which tests stay together when they are spread over workers.

`make test` runs two workers (pytest-xdist). Tests that share servers run one after another in one of them, so that a test that takes a
server away disturbs no other; each worker starts servers of its own, once. All else is spread test by test, afterwards. pytest-xdist's own groups
(`--dist loadgroup`) do not work with this pytest (pytest-dev/pytest-xdist#1386), so the scheduler is told here.
"""

from __future__ import annotations

import signal
import threading

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Machines are noisy; and a failure is to be had again.
settings.register_profile("neptune", deadline=None, print_blob=True)
settings.load_profile("neptune")

# A shell that starts this in the background has the interrupt ignored, and processes of the tests would inherit that.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TOGETHER = (
    "tests/compose/",
    "tests/image/",
    "tests/k8s/",
    "tests/observability/",
    "tests/web/",
    "tests/iceberg/test_services.py",
)
"""Where all tests share what was started or built; in `tests/services` those of one file do."""


class _Units(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/services/"):
            return nodeid.partition("::")[0]
        return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Of the units, those of many tests begin first."""
    return _Units(config, log)
