"""A slice of `python -m tests.chaos`: every family, a few restarts each; all of it is in the package's head."""

from __future__ import annotations

import functools
import secrets
from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.families import FAMILIES
from tests.chaos.run import planned, run
from tests.services.conftest import without_servers
from tests.services.servers import ServerError

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]
RESTARTS = 1
"""Each family has its least: the whole takes some three minutes on two processors."""


def test_every_family_of_faults_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    seed = secrets.randbelow(2**31)
    print(f"python -m tests.chaos --restarts {RESTARTS} --seed {seed}")
    try:
        outcome = run(planned(RESTARTS, seed), evidence=tmp_path, at_once=2, say=functools.partial(print, flush=True))
    except ServerError as error:
        without_servers(error)
    assert outcome.total.is_clean, report.text(outcome)
    assert set(outcome.counts) == set(FAMILIES)
    assert all(counts.restarts and counts.messages for counts in outcome.counts.values()), report.text(outcome)


def test_the_restarts_are_spread_by_the_families_shares() -> None:
    episodes = planned(1000, 7)
    restarts = {name: sum(e.restarts for e in episodes if e.family == name) for name in FAMILIES}
    assert sum(family.share for family in FAMILIES.values()) == 100
    assert restarts == {name: family.share * 10 for name, family in FAMILIES.items()}
    assert all(episode.restarts <= FAMILIES[episode.family].restarts_max for episode in episodes)
    assert len({episode.name for episode in episodes}) == len(episodes)
