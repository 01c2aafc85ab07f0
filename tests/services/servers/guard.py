"""Becomes the server it is told to, after asking the kernel to kill that server when its parent dies.

Run as `python -I -S guard.py PARENT_PID PROGRAM ARGUMENT...`. The request outlives the change of program. It stands in
a program of its own because Python code between fork and exec is not safe in a process with threads. Where the kernel
knows no such request (other systems than Linux) the server is started all the same. The server hears every signal, also
those that its parent keeps from itself.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replace this process with the program. Exits with 1 if the parent died before the request was made."""
    parent, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606


if __name__ == "__main__":
    main()
