"""Tests of workflows in the test's own process: no worker, no database, no waiting.

Time passes when nothing else is to be done, so a run that sleeps for three days ends at once.

A name is imported when it is first used, because pytest imports this package, for its plugin, in
all tests of an environment that has owsuper.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.testing.crashes import survives_crashes
    from owsuper.testing.faults import crash_after, crash_in, fail, fail_once
    from owsuper.testing.in_process import InProcessWorker
    from owsuper.testing.one_run import run_in_process
    from owsuper.testing.outcome import InProcessRun, InProcessStep

__all__ = [
    "InProcessRun",
    "InProcessStep",
    "InProcessWorker",
    "crash_after",
    "crash_in",
    "fail",
    "fail_once",
    "run_in_process",
    "survives_crashes",
]

_MODULES = {
    "InProcessRun": "outcome",
    "InProcessStep": "outcome",
    "InProcessWorker": "in_process",
    "crash_after": "faults",
    "crash_in": "faults",
    "fail": "faults",
    "fail_once": "faults",
    "run_in_process": "one_run",
    "survives_crashes": "crashes",
}

if not TYPE_CHECKING:  # type checkers would take any name for one of these

    def __getattr__(name: str) -> object:
        """Import a public name, and keep it."""
        if name not in _MODULES:
            raise AttributeError(f"module 'owsuper.testing' has no attribute {name!r}")
        module = import_module(f"owsuper.testing.{_MODULES[name]}")
        value = globals()[name] = getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
