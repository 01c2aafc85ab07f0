"""`python -m neptune_flow`: the same as `neptune`."""

from neptune_flow.cli import main

main()
