"""What the log says about children and their runs."""

from __future__ import annotations

import logging
import time

from owsuper.ipc.messages import Finished
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.exit_status import Evidence

_log = logging.getLogger("owsuper.supervisor")


def child_ready(child: Child) -> None:
    _log.debug("child ready", extra={"child": child.number, "pid": child.pid})


def child_left(child: Child, evidence: Evidence) -> None:
    """It ended because it was to end."""
    level = logging.INFO if child.leaving else logging.DEBUG  # the operator's own doing, perhaps
    _log.log(level, "child left: %s", evidence, extra={"child": child.number, "pid": child.pid})


def child_died(child: Child, evidence: Evidence) -> None:
    """It ended of itself: with what it held, and where it was in there."""
    died = {"child": child.number, "pid": child.pid, "max_rss_kb": evidence.max_rss_kb}
    _log.error("child died: %s", evidence, extra=died)
    if (failure := child.load_failure) is not None:
        _log.error("the child could not load the application: %s", failure.message)
    for slot, held in child.held.items():
        how = {"step": child.steps_in_flight(slot), "cause": str(evidence)}
        _log.error("run lost its process", extra=_context(child, held) | how)


def run_left(child: Child, held: HeldRun, finished: Finished) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        seconds = round(time.monotonic() - held.since, 4)
        how = {"outcome": finished.outcome, "seconds": seconds}
        _log.debug("run left the child", extra=_context(child, held) | how)


def _context(child: Child, held: HeldRun) -> dict[str, object]:
    run = held.run
    return {
        "child": child.number,
        "pid": child.pid,
        "run_id": run.run_id,
        "workflow": run.workflow_name,
        "version": run.version,
        "attempt": run.attempts,
    }
