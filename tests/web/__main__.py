"""`python -m tests.web prepare`: see that there is a browser, and install one where that is possible.
`python -m tests.web pictures FOLDER`: take the pictures of the page that README shows."""

import sys
from pathlib import Path

from tests.web import pictures
from tests.web.browser import BrowserError, in_ci, prepare

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare"]:
            try:
                print(f"browser: {prepare()}")
            except BrowserError as error:
                print(f"browser: {error}; the tests of the page are skipped, in CI they fail")
                sys.exit(in_ci())
        case ["pictures", folder]:
            pictures.take(Path(folder))
        case _:
            sys.exit(__doc__)
