"""Tests of workflows in the test's own process: no worker, no database, no waiting.

Time passes when nothing else is to be done, so a run that sleeps for three days ends at once.
"""

from owsuper.testing.crashes import survives_crashes
from owsuper.testing.faults import crash_in, fail, fail_once
from owsuper.testing.in_process import InProcessWorker, run_in_process
from owsuper.testing.outcome import InProcessRun, InProcessStep

__all__ = [
    "InProcessRun",
    "InProcessStep",
    "InProcessWorker",
    "crash_in",
    "fail",
    "fail_once",
    "run_in_process",
    "survives_crashes",
]
