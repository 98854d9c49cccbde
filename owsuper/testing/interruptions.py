"""Exceptions that end the test, and not only the step or the workflow that raises them.

A worker takes whatever code raises for a failure, and repeats the step. A test must end when it is
interrupted, when a debugger is left, and when a replacement calls ``pytest.fail``.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import Final

from owsuper.core.unwind import Unwind
from owsuper.stored_error import EngineError

_OF_WORKFLOWS: Final = (SystemExit, GeneratorExit, CancelledError, Unwind, EngineError)
_OF_TESTS: Final = frozenset(
    {
        "_pytest.outcomes.Exit",  # a debugger was left
        "bdb.BdbQuit",
        "hypothesis.errors.UnsatisfiedAssumption",
        "unittest.case.SkipTest",
    }
)
"""Names of subclasses of Exception. pytest's Failed and Skipped are none."""


class TestOver(EngineError):
    """Gives the run back in which the exception of a test was raised."""

    __test__ = False  # pytest takes it for no class of tests


def ends_test(exc: BaseException) -> bool:
    """Whether ``exc`` is about the test, and no failure of a step or a workflow."""
    if isinstance(exc, Exception):
        return f"{type(exc).__module__}.{type(exc).__qualname__}" in _OF_TESTS
    return not isinstance(exc, _OF_WORKFLOWS)
