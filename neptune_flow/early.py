"""The first seconds of a process, in which its libraries are imported: a signal that comes then ends it in good order, with exit code 0.

Without this SIGTERM would kill the interpreter, and as the first process of a container it would not be heard at all. Later the signals are
`process`'s, which drains. Nothing may be imported here that takes time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """For the length of a `with` block, or until somebody else takes the signals over; only in the main thread."""
    before = {number: signal.signal(number, _leave) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _leave:
                signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    os.write(2, f"{signal.Signals(number).name} before anything had begun\n".encode())
    os._exit(0)
