"""Faults that a test arranges: in the functions of steps, by their names, and after commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from owsuper.core.model import WriteSet
from owsuper.errors import ConfigurationError
from owsuper.stored_error import EngineError
from owsuper.testing.tables import Tables


class Crashed(EngineError):
    """The process of a run is to be dead at this place."""


@dataclass(repr=False)
class StepFault:
    """Happens in the next ``times`` calls of the function of a step, in place of the call.

    ``text`` is the call that made the fault. A fault that need not happen is ``optional``.
    """

    step: str
    happen: Callable[[], Any]
    times: int
    text: str
    optional: bool = False
    happened: int = field(default=0, init=False)

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, repr=False)
class CommitFault:
    """The process dies after the commit with this number, from 1."""

    number: int

    def __repr__(self) -> str:
        return f"crash_after({self.number})"


Fault: TypeAlias = StepFault | CommitFault


def fail(step: str, error: BaseException | type[BaseException], *, times: int) -> StepFault:
    """Let the next ``times`` calls of the step's function raise ``error``.

    Raises ConfigurationError for what cannot be raised, and for no calls.
    """
    is_class = isinstance(error, type) and issubclass(error, BaseException)
    if not (is_class or isinstance(error, BaseException)):
        raise ConfigurationError(f"fail({step!r}, {error!r:.60}): pass an exception to raise")
    _check_count(times, f"fail({step!r}, times={times!r})", "a step fails at least once")

    def happen() -> Any:
        raise error

    return StepFault(step, happen, times, f"fail({step!r}, {error!r}, times={times})")


def fail_once(step: str, error: BaseException | type[BaseException]) -> StepFault:
    """Let the next call of the step's function raise ``error``."""
    return fail(step, error, times=1)


def crash_in(step: str) -> StepFault:
    """Let the process die in the step's function, once. The run goes on in another process.

    The function itself is not called, as if the process had died before its first line.
    """

    def happen() -> Any:
        raise Crashed(f"the test lets the process die in step {step!r}")

    return StepFault(step, happen, 1, f"crash_in({step!r})")


def crash_after(commit: int) -> CommitFault:
    """Let the process die after this commit of the test. The run goes on in another process.

    Commits are counted from 1: each result of a step, each park and each end of a run is one.
    Without effect if there are fewer commits. Raises ConfigurationError for a number below 1.
    """
    _check_count(commit, f"crash_after({commit!r})", "commits are counted from 1")
    return CommitFault(commit)


def _check_count(count: object, call: str, rule: str) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigurationError(f"{call}: {rule}")


class CommitCrashes:
    """Ends the claims of the runs that are written in the commits of ``faults``."""

    def __init__(self, tables: Tables, faults: Iterable[CommitFault]) -> None:
        self._tables = tables
        self._left = sorted(fault.number for fault in faults)

    def __call__(self, writes: Iterable[WriteSet]) -> None:
        """Crash after a commit, if one of the faults says so."""
        left = [number for number in self._left if number > self._tables.commits]
        if left == self._left:
            return
        self._left = left
        for run_id in {write.run_id for write in writes}:
            if not self._tables.runs[run_id].ended:
                self._tables.lose_claim(run_id)
