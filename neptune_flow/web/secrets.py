"""Hides the secrets of the settings in whatever is shown: an error may quote an address, and nobody logs in to read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from neptune_flow.settings.values import MASK

T = TypeVar("T")

CHARACTERS_MIN = 4
"""As in the log: a shorter text is found everywhere by chance."""


class Secrets:
    """Texts that must not be shown."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Of `name:secret`, as OAuth2 credentials are written, the secret alone is one too.
        parts = {part for secret in secrets for part in (secret, secret.partition(":")[2])}
        self._texts = sorted((part for part in parts if len(part) >= CHARACTERS_MIN), key=len, reverse=True)

    def hide(self, shown: T) -> T:
        """The same text, list or mapping, of any depth, with a mask in place of each secret."""
        return cast(T, self._hidden(shown))

    def _hidden(self, shown: object) -> object:
        if isinstance(shown, dict):
            return {self._hidden(key): self._hidden(value) for key, value in shown.items()}
        if isinstance(shown, list):
            return [self._hidden(value) for value in shown]
        if isinstance(shown, str):
            for text in self._texts:
                shown = shown.replace(text, MASK)
        return shown
