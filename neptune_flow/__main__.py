"""`python -m neptune_flow`: the same as `neptune`."""

import sys

try:
    from neptune_flow.cli import main
except KeyboardInterrupt:
    sys.exit(2)

main()
