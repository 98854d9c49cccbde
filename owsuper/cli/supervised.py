"""``owsuper`` with one database: this process becomes the supervisor."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from owsuper import logs
from owsuper.cli import database, forked_call
from owsuper.setting_sources import log_sources
from owsuper.settings import Settings
from owsuper.supervisor import supervisor

_log = logging.getLogger("owsuper.cli")

# Seconds; a supervisor that waits neither claims runs nor renews leases.
_LOG_PATIENCE: Final = 0.05


def run(chosen: Settings, *, label: str, ready_fd: int | None, watch: bool) -> int:
    """Execute runs until a signal stops the supervisor; return the exit code.

    ``label`` names the database in log lines, unless it is empty. Raises what ``supervisor.run``
    raises, MigrationError and EmbeddedUnavailable.
    """
    chosen = replace(chosen, database_label=label)
    logs.set_up(chosen, patience=_LOG_PATIENCE)
    logs.adopt_root()
    log_sources(chosen, _log, os.environ)
    with ExitStack() as stack:
        return supervisor.run(
            chosen,
            resolve_database=lambda application: database.choose(chosen, application, stack),
            migrate=_prepare,
            ready_fd=ready_fd,
            watch=watch,
        )


def _prepare(url: str, schema: str, *, migrate: bool, give_up: Callable[[], bool]) -> None:
    """Run ``database.prepare`` in a fork, which a stop signal can kill while it waits."""
    forked_call.call(lambda: database.prepare(url, schema, migrate=migrate), give_up=give_up)
