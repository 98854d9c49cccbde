"""Collects the Python stacks of the children, which go on with their work meanwhile.

For the log, at USR1, and for ``owsuper ps --stacks``, whose answer is announced (see ``presence``).

A child answers from its main thread. A child that cannot, because a step holds the GIL, gets a
signal: its handler is C code, which needs no GIL, and writes the stacks to standard error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from owsuper.event_loop import Loop
from owsuper.supervisor.child import Child
from owsuper.supervisor.fleet import Fleet

_PATIENCE: Final = 2.0  # seconds for an answer
_KEPT: Final = 10.0  # seconds for which an answer is announced: whoever asked looks all the time
_LIMIT: Final = 65536  # characters of one child in an announcement
_MOST_TOKENS: Final = 20  # of those who have asked last
_SILENT: Final = "does not answer, perhaps because a step holds the GIL"

_log = logging.getLogger("owsuper.supervisor")


class ChildStacks:
    """Asks the children of ``fleet`` for their stacks.

    ``answer`` is for those who have asked, and None if nobody has, lately. ``on_answer`` is called
    when there is a new one.
    """

    def __init__(self, loop: Loop, fleet: Fleet, on_answer: Callable[[], object]) -> None:
        self._fleet = fleet
        self._on_answer = on_answer
        self._to_log: set[int] = set()  # numbers of children
        self._to_answer: set[int] = set()
        self._tokens: list[str] = []
        self._texts: dict[int, str] = {}
        self.answer: dict[str, Any] | None = None
        self._timer = loop.timers.add("children that send no stacks", self._give_up)
        self._end = loop.timers.add("forget stacks", self._forget)

    def log(self) -> None:
        """Ask all children for their stacks. They are logged at any log level."""
        asked = self._ask()
        self._to_log |= asked
        _report(f"stacks of child processes: {len(asked)}")

    def ask(self, token: str) -> None:
        """Ask all children for their stacks, for the ``answer``, which names the ``token``."""
        self._tokens = [*self._tokens, token][-_MOST_TOKENS:]
        self._to_answer |= self._ask()
        if not self._to_answer:
            self._finish()

    def _ask(self) -> set[int]:
        asked = [child for child in self._fleet if child.serving and child.pid is not None]
        for child in asked:
            child.ask_for_stacks()
        self._timer.after(_PATIENCE)
        return {child.number for child in asked}

    def on_stacks(self, child: Child, text: str) -> None:
        """Handle the answer of a child."""
        if child.number in self._to_log:
            self._to_log.discard(child.number)
            _report(f"stacks of child {child.number} (pid {child.pid}):\n{_runs(child)}{text}")
        if child.number in self._to_answer:
            self._to_answer.discard(child.number)
            self._texts[child.number] = text[:_LIMIT]
            if not self._to_answer:
                self._finish()

    def _give_up(self) -> None:
        """Have the children that have not answered write their stacks to standard error."""
        for child in self._fleet:
            if child.number in self._to_log:
                _report(
                    f"child {child.number} (pid {child.pid}) {_SILENT}. Its stacks follow on"
                    f" standard error, the innermost call first:\n{_runs(child)}"
                )
            if child.number in self._to_answer:
                self._texts[child.number] = f"  It {_SILENT}. Its stacks are in the worker's log."
            if child.number in self._to_log | self._to_answer:
                child.dump_stacks()
        self._to_log.clear()
        if self._to_answer:
            self._to_answer.clear()
            self._finish()

    def _finish(self) -> None:
        texts = {str(number): text for number, text in self._texts.items()}
        self.answer = {"asked": list(self._tokens), "of": texts}
        self._texts.clear()
        self._end.after(_KEPT)
        self._on_answer()

    def _forget(self) -> None:
        self.answer = None
        self._tokens.clear()


def _runs(child: Child) -> str:
    """Return a line about each run that the child holds."""
    lines = []
    for slot, held in child.held.items():
        step = child.steps_in_flight(slot) or "between steps"
        lines.append(f"run {held.run.run_id} {held.run.workflow_name}: {step}\n")
    return "".join(lines)


def _report(text: str) -> None:
    _log.log(max(logging.INFO, _log.getEffectiveLevel()), "%s", text.rstrip())
