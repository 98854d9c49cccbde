"""Giving a run back that the engine cannot execute here: when it is due again, and the log line.

The reason is never stored: it is no failure of the run.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Final

from owsuper.child.services import Services
from owsuper.core.model import ClaimedRun, Park, Release
from owsuper.stored_error import EngineError

_log = logging.getLogger("owsuper.child")

_PAUSE: Final = 5.0  # seconds until the run is due again, so that a lasting reason makes no noise


def database_time(run: ClaimedRun) -> datetime:
    """Return the time on the database's clock, counted on from the claim's answer.

    It is late by the time that the answer took, and never early.
    """
    return run.claimed_at + timedelta(seconds=time.monotonic() - run.claim_answered)


def give_back_outcome(run: ClaimedRun, services: Services) -> Release | Park:
    """Return the outcome of a run that is given back: due now if this process stops, else soon."""
    if services.stopping.is_set() or services.database.closing.is_set():
        return Release()
    return Park(database_time(run) + timedelta(seconds=_PAUSE))


def log_engine_error(run: ClaimedRun, exc: BaseException) -> None:
    """Log why ``run`` is given back; with a traceback if the reason is unexpected."""
    _log.error(
        "run %s (%s) is given back: %s",
        run.run_id,
        run.workflow_name,
        exc if isinstance(exc, EngineError) else "the execution failed",
        exc_info=None if isinstance(exc, EngineError) else exc,
    )
