"""`python -m tests.image prepare`: install buildah, crun and mmdebstrap where that is possible, and build the image; minutes at first, seconds later."""

import sys
import time

from tests.image.build import prepare
from tests.image.container import built
from tests.services.servers import ServerError
from tests.services.servers.storage import in_ci

if __name__ == "__main__":
    if sys.argv[1:] != ["prepare"]:
        sys.exit(__doc__)
    began = time.monotonic()
    try:
        prepare()
        with built():
            print(f"image: ready after {time.monotonic() - began:.0f} s")
    except ServerError as error:
        print(f"image: {error}; its tests are skipped, in CI they fail")
        sys.exit(in_ci())
