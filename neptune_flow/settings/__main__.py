"""Prints the table of all settings: `python -m neptune_flow.settings`."""

from neptune_flow.settings import markdown

print(markdown())
