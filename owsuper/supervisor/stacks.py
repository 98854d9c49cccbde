"""Collects the Python stacks of the children, which go on with their work meanwhile.

A child answers from its main thread. A child that cannot, because a step holds the GIL, gets a
signal: its handler is C code, which needs no GIL, and writes the stacks to standard error.
"""

from __future__ import annotations

import logging
from typing import Final

from owsuper.event_loop import Loop
from owsuper.supervisor.child import Child
from owsuper.supervisor.fleet import Fleet

_PATIENCE: Final = 2.0  # seconds for an answer

_log = logging.getLogger("owsuper.supervisor")


class StackLog:
    """Asks the children of ``fleet`` for their stacks, and logs them."""

    def __init__(self, loop: Loop, fleet: Fleet) -> None:
        self._fleet = fleet
        self._awaited: set[int] = set()  # numbers of children
        self._timer = loop.timers.add("children that send no stacks", self._signal_silent)

    def collect(self) -> None:
        """Ask all children for their stacks. They are logged at any log level."""
        asked = [child for child in self._fleet if child.serving and child.pid is not None]
        _report(f"stacks of child processes: {len(asked)}")
        for child in asked:
            self._awaited.add(child.number)
            child.ask_for_stacks()
        self._timer.after(_PATIENCE)

    def on_stacks(self, child: Child, text: str) -> None:
        """Log the answer of a child."""
        self._awaited.discard(child.number)
        _report(f"stacks of child {child.number} (pid {child.pid}):\n{_runs(child)}{text}")

    def _signal_silent(self) -> None:
        for child in self._fleet:
            if child.number in self._awaited:
                _report(
                    f"child {child.number} (pid {child.pid}) does not answer, perhaps because a"
                    " step holds the GIL. Its stacks follow on standard error, the innermost call"
                    f" first:\n{_runs(child)}"
                )
                child.dump_stacks()
        self._awaited.clear()


def _runs(child: Child) -> str:
    """Return a line about each run that the child holds."""
    lines = []
    for slot, held in child.held.items():
        step = child.steps_in_flight(slot) or "between steps"
        lines.append(f"run {held.run.run_id} {held.run.workflow_name}: {step}\n")
    return "".join(lines)


def _report(text: str) -> None:
    _log.log(max(logging.INFO, _log.getEffectiveLevel()), "%s", text.rstrip())
