"""What the commands share: settings and logs as the flow has them, one form for errors, and one set of exit codes.

    0  all is well; or it is done
    1  something is wrong, and is named; or a person did not agree
    2  wrong usage; or it could not be looked or be done, and the message says why

A defect or an interruption must not look like something that was found: it ends with 2 as well. The flow's own exit codes (`errors`) are for those
who start it again; a command is given by somebody who reads what it says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from neptune_flow.errors import NeptuneError
from neptune_flow.settings import Settings
from neptune_flow.telemetry import configure_logging, get_logger, register_secret

log = get_logger("neptune.cli")

WELL, WRONG, COULD_NOT = 0, 1, 2
"""The exit codes; see the module's head."""


def load_settings() -> Settings:
    """The settings of the environment; logs from here on are warnings and errors alone, to standard error.

    Raises:
        SettingsError: a setting is unknown or cannot be.
    """
    settings = Settings.load()
    for secret in settings.secrets():
        register_secret(secret)
    configure_logging("WARNING", settings.log_format)
    return settings


@contextmanager
def failures_as_exit_code() -> Iterator[None]:
    """Print an error that Neptune knows in up to three lines, log a defect; and exit with COULD_NOT."""
    try:
        yield
    except NeptuneError as error:
        click.echo(str(error), err=True)
    except (click.ClickException, click.Abort):
        raise
    except KeyboardInterrupt:
        log.warning("interrupted")
    except Exception:
        log.exception("defect")
    else:
        return
    sys.exit(COULD_NOT)
