"""What is installed is what was reviewed: the lock names the same versions as requirements.txt, each with the digests of its files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)
BLOCKS = [block for block in re.split(r"\n(?=[a-z0-9])", LOCK) if "==" in block.splitlines()[0]]


def pins(text: str) -> dict[str, str]:
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PINS.findall(text)}


def test_the_lock_has_the_versions_of_requirements_txt_and_no_others() -> None:
    assert pins(LOCK) == pins((ROOT / "requirements.txt").read_text()), "its first lines say how it is made anew"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("==")[0])
def test_each_has_the_digests_of_its_files(block: str) -> None:
    assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block)


def test_the_lock_names_no_place_to_install_from() -> None:
    """Digests decide, wherever the files come from."""
    assert "://" not in LOCK
    assert len(BLOCKS) == len(pins(LOCK)) > 40
