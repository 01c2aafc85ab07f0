"""`python -m tests.cli recording FOLDER`: record the terminal session that README shows, on real servers."""

import sys
from pathlib import Path

from tests.cli import recording

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["recording", folder]:
            recording.record(Path(folder))
        case _:
            sys.exit(__doc__)
