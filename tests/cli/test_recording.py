"""The recorded session that README shows: the picture is of the recording, and the recording is of what the commands say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

from tests.cli.recording import COLUMNS, COMMANDS, PROMPT, picture

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
CAST = (FIGURES / "terminal.cast").read_text()
BYTES_MAX = 300_000


def shown() -> str:
    return "".join(json.loads(line)[2] for line in CAST.splitlines()[1:])


def test_the_picture_is_of_the_recording_and_small() -> None:
    svg = (FIGURES / "terminal.svg").read_text()
    assert svg == picture(CAST), "run: python -m tests.cli recording docs/figures"
    assert len(svg) < BYTES_MAX
    assert ElementTree.fromstring(svg).tag.endswith("svg")  # noqa: S314 - our own


def test_every_command_was_recorded_and_none_met_wrong_usage_or_a_defect() -> None:
    typed = re.findall(rf"^{re.escape(PROMPT)}(.*)$", shown().replace("\r", ""), re.MULTILINE)
    assert len(typed) == len(COMMANDS)
    for words, command in zip(typed, COMMANDS, strict=True):
        assert words.split()[:3] == command.split()[:3]
    assert not re.search("Usage:|Error|Traceback|defect", shown())


def test_the_recording_names_no_place_of_the_machine_and_fits_its_terminal() -> None:
    assert not re.search(r"/(root|home|work|tmp)/", shown())
    assert json.loads(CAST.splitlines()[0])["width"] == COLUMNS


def test_a_line_that_is_wider_than_the_terminal_goes_on_in_the_next() -> None:
    wide = json.dumps({"version": 2}) + "\n" + json.dumps([1.0, "o", "x" * (COLUMNS + 3) + "\r\n"]) + "\n"
    texts = [e.text for e in ElementTree.fromstring(picture(wide)).iter() if e.tag.endswith("text")]  # noqa: S314 - our own
    assert texts == ["x" * COLUMNS, "xxx"]
