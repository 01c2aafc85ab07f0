"""`python -m neptune_flow.healthcheck`: what the image's HEALTHCHECK runs. Asks `/readyz` of the Neptune in the same container.

Exit code 0 if it is ready, or has no port to ask; else 1, with the reasons on standard error. A platform runs this every few seconds beside the
flow, so it takes some hundredths of a second: settings are not loaded, and nothing is imported that takes time.
"""

import http.client
import os
import sys
from contextlib import closing

HOST = "0.0.0.0"  # noqa: S104 - to ask, it means this machine; so does `::`
PORT = "8080"
"""As the settings' defaults."""
ANSWER_S_MAX = 4.0
ANSWER_BYTES_MAX = 4 << 10


def complaint() -> str | None:
    """Why the Neptune of this environment is not ready; None if it is, or has no port."""
    host, port = os.environ.get("NEPTUNE_HTTP_HOST") or HOST, os.environ.get("NEPTUNE_HTTP_PORT") or PORT
    if port.strip() == "0":
        return None
    try:
        with closing(http.client.HTTPConnection(host, int(port), timeout=ANSWER_S_MAX)) as connection:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            text = answer.read(ANSWER_BYTES_MAX).decode(errors="replace").strip()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"port {port} of {host} does not answer: {error}"
    return None if answer.status == http.client.OK else text or f"status {answer.status}"


if __name__ == "__main__":
    sys.exit(complaint())
