"""The recording of a terminal session that README shows: real servers, a real Neptune, a real shell.

    commands ─► bash, its output a terminal ─► terminal.cast (asciicast v2, for any player) ─► terminal.svg (the same, moving)

What is typed is told at a typist's pace, what takes long is cut to a moment's wait; nothing else is changed. Standard error is no terminal here, so that no
bar is drawn: what comes is lines, and the picture needs no emulator.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import selectors
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from rich.ansi import AnsiDecoder
from rich.color import ColorType
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME as THEME

from tests.services.neptune import ROOT, inherited
from tests.services.servers.platform import Platform

COLUMNS, ROWS = 112, 30
COMMANDS = (
    "neptune check",
    "neptune run 2> neptune.log &",
    "neptune simulate --count 20000 --rate 4000 --bad-share 0.02",
    "neptune status",
    "neptune quarantine list --reason missing --limit 3",
    "neptune quarantine show {reject}",
    "neptune query 'select status, count(*) messages, max(timestamp) newest from rows group by all order by all'",
    "kill %1; wait; tail -n 1 neptune.log",
    "neptune verify",
)
"""`{reject}` is the first message that was listed."""
SETTLES_S = 45.0
"""Before the first look: until the windows have closed, since the simulator has ended."""
PROMPT = "\x1b[32m$\x1b[0m "
TYPED_S, THINKING_S, WAIT_S_MAX, READING_S = 0.04, 0.6, 1.2, 2.5
"""For a letter, before a command, the longest silence that is kept, and after an answer."""
STEP_LIMIT_S = 180.0

FONT_PX, CHAR_PX, LINE_PX, EDGE_PX = 13, 7.8, 17, 14


def record(folder: Path) -> None:
    """Write terminal.cast and terminal.svg."""
    with Platform() as platform, tempfile.TemporaryDirectory(prefix="neptune-terminal-") as home:
        events = list(_session(platform.settings(), Path(home)))
    head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "Neptune"}
    cast = folder / "terminal.cast"
    cast.write_text("\n".join(map(json.dumps, [head, *events])) + "\n")
    (folder / "terminal.svg").write_text(picture(cast.read_text()))


def _session(settings: Mapping[str, str], home: Path) -> Iterator[tuple[float, str, str]]:
    """The events of the recording: seconds since its beginning, `o`, text."""
    at_s = 0.0
    with _Shell(settings, home) as shell:
        said = ""
        for command in COMMANDS:
            if command == "neptune status":
                time.sleep(SETTLES_S)
            if "{reject}" in command:
                command = command.format(reject=re.findall(r"\b\d+:\d+\b(?!:)", said)[0])  # noqa: PLW2901
            at_s += THINKING_S
            yield round(at_s, 3), "o", PROMPT
            for letter in command:
                at_s += TYPED_S
                yield round(at_s, 3), "o", letter
            at_s += THINKING_S
            yield round(at_s, 3), "o", "\r\n"
            said = ""
            for waited_s, text in shell.run(command):
                said += text
                at_s += min(waited_s, WAIT_S_MAX)
                yield round(at_s, 3), "o", text
            at_s += READING_S


class _Shell:
    """Bash, whose standard output is a terminal."""

    def __init__(self, settings: Mapping[str, str], home: Path) -> None:
        bin_folder = home / "bin"
        bin_folder.mkdir()
        neptune = bin_folder / "neptune"
        neptune.write_text(f'#!/bin/sh\nexec {sys.executable} -m neptune_flow "$@"\n')
        neptune.chmod(0o755)
        self._screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._errors, errors = os.pipe()
        self._ends, ends = os.pipe()
        self._ends_number = ends
        own = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=home,
            env={**inherited(), **settings, **own, "NEPTUNE_HTTP_PORT": "0"},
            stdin=subprocess.PIPE,
            stdout=terminal,
            stderr=errors,
            pass_fds=[ends],
        )
        for number in (terminal, errors, ends):
            os.close(number)

    def run(self, command: str) -> Iterator[tuple[float, str]]:
        """What comes on the screen, each piece with the seconds for which it was waited."""
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{command}\nprintf . >&{self._ends_number}\n".encode())
        self._bash.stdin.flush()
        with selectors.DefaultSelector() as selector:
            for number in (self._screen, self._errors, self._ends):
                selector.register(number, selectors.EVENT_READ)
            before_s, is_over = time.monotonic(), False
            while True:
                ready = {key.fd for key, _ in selector.select(0.2 if is_over else STEP_LIMIT_S)}
                assert ready or is_over, f"{command} takes too long"
                for number in ready - {self._ends}:
                    text = os.read(number, 65_536).decode(errors="replace")
                    now_s = time.monotonic()
                    yield now_s - before_s, text if number == self._screen else text.replace("\n", "\r\n")
                    before_s = now_s
                if self._ends in ready:
                    os.read(self._ends, 16)
                    is_over = True
                elif not ready:
                    return

    def __enter__(self) -> _Shell:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(b"kill %1 2>/dev/null; wait\n")
        self._bash.stdin.close()
        self._bash.wait(60)


class Line(NamedTuple):
    """One line of the screen, and when it came; what is typed takes from then until `whole_s`."""

    parts: list[Segment]
    at_s: float
    whole_s: float
    is_typed: bool


def picture(cast: str) -> str:
    """The recording as an SVG that moves; who wants no motion sees its last screen."""
    lines = list(_lines(cast))
    whole_s = lines[-1].whole_s + 2 * READING_S
    hidden = max(0, len(lines) - ROWS)
    steps = {f"{100 * line.at_s / whole_s:.2f}%": n * LINE_PX for n, line in enumerate(lines[ROWS:], 1)}
    scroll = "".join(f"{at}{{transform:translateY(-{px}px)}}" for at, px in steps.items())
    width, height = COLUMNS * CHAR_PX + 2 * EDGE_PX, ROWS * LINE_PX + 2 * EDGE_PX
    style = [
        f"text{{font:{FONT_PX}px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}}",
        f".a{{animation:{whole_s:.1f}s step-end infinite}}",
        f"#s{{transform:translateY(-{hidden * LINE_PX}px);animation-name:s}}@keyframes s{{0%{{transform:translateY(0)}}{scroll}}}",
        "@media(prefers-reduced-motion:reduce){.a{animation:none!important}}",
    ]
    body: list[str] = []
    for number, line in enumerate(lines):
        begins, ends = (f"{100 * at / whole_s:.2f}%" for at in (line.at_s, line.whole_s))
        if line.is_typed:
            letters = sum(len(part.text) for part in line.parts)
            style.append(
                f"@keyframes l{number}{{0%{{clip-path:inset(0 100% 0 0)}}"
                f"{begins}{{clip-path:inset(0 100% 0 0);animation-timing-function:steps({letters})}}{ends}{{clip-path:inset(0)}}}}"
            )
        else:
            style.append(f"@keyframes l{number}{{0%{{opacity:0}}{begins}{{opacity:1}}}}")
        texts = "".join(_texts(line.parts, number * LINE_PX + FONT_PX))
        body.append(f'<g class="a" style="animation-name:l{number}">{texts}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" fill="{_hex(None)}" role="img" aria-label="A terminal session with Neptune">\n'
        f"<style>{''.join(style)}</style>\n"
        f'<rect width="100%" height="100%" rx="8" fill="#1b1f27"/>\n'
        f'<svg x="{EDGE_PX}" y="{EDGE_PX}" width="{width - 2 * EDGE_PX:.0f}" height="{ROWS * LINE_PX}"><g id="s" class="a">\n'
        + "\n".join(body)
        + "\n</g></svg>\n</svg>\n"
    )


def _lines(cast: str) -> Iterator[Line]:
    """The lines of the recording, cut where the terminal's width ends."""
    decoder, console = AnsiDecoder(), Console(width=COLUMNS, color_system="truecolor", force_terminal=True)
    text, began_s = "", 0.0
    for event in cast.splitlines()[1:]:
        at_s, _, piece = json.loads(event)
        began_s = began_s if text else at_s
        text += piece
        while "\n" in text:
            whole, text = text.split("\n", 1)
            is_typed = whole.startswith(PROMPT)
            for decoded in decoder.decode(whole.rstrip("\r") or " "):
                for row in decoded.divide(range(COLUMNS, len(decoded), COLUMNS)):
                    yield Line(list(row.render(console)), began_s if is_typed else at_s, at_s, is_typed)
            began_s = at_s


def _texts(parts: list[Segment], y: int) -> Iterator[str]:
    column = 0
    for part in parts:
        if part.text.strip():
            style = part.style or Style()
            colour = "" if style.color is None or style.color.is_default else f' fill="{_hex(style)}"'
            marks = (' font-weight="bold"' if style.bold else "") + (' opacity=".6"' if style.dim else "")
            length = f'textLength="{len(part.text) * CHAR_PX:.1f}"'
            yield f'<text x="{column * CHAR_PX:.1f}" y="{y}" {length}{colour}{marks}>{escape(part.text, quote=False)}</text>'
        column += len(part.text)


def _hex(style: Style | None) -> str:
    if style is None or style.color is None or style.color.type is ColorType.DEFAULT:
        return "#d5dae3"
    return style.color.get_truecolor(THEME).hex
