"""What child runs do in a test instead of being executed, by the names of their workflows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from owsuper.core import codec
from owsuper.core.model import RunStatus
from owsuper.stored_error import StoredError
from owsuper.testing.interruptions import ends_test
from owsuper.testing.rows import MemoryRun
from owsuper.testing.tables import Tables

Child = Any
"""What a child run does instead of being executed: a result, an exception, or a function."""


class ChildReplacements:
    """Ends child runs of ``tables``, and notes whose."""

    def __init__(self, children: Mapping[str, Child], tables: Tables) -> None:
        self._children = children
        self._tables = tables
        self._ended: set[str] = set()

    def end(self, run: MemoryRun) -> bool:
        """End a run that is due, if it is one that is replaced. Return whether it is."""
        if run.parent is None or run.workflow_name not in self._children:
            return False
        self._ended.add(run.workflow_name)
        run.attempts += 1
        instead = self._children[run.workflow_name]
        try:
            value = instead
            if callable(instead) and not isinstance(instead, type):
                value = instead(codec.decode(run.input_json))
            if isinstance(value, BaseException):
                raise value
            output = codec.decode(codec.encode(value, path="result"))
        except BaseException as exc:
            if ends_test(exc) and exc is not instead:
                raise
            error = StoredError.from_exception(exc).to_json()
            self._tables.end(run, RunStatus.FAILED, error=error)
        else:
            self._tables.end(run, RunStatus.COMPLETED, output=output)
        return True

    def check_used(self) -> None:
        """Raise AssertionError for replacements that no child run needed."""
        if unused := [name for name in self._children if name not in self._ended]:
            raise AssertionError(
                "children: no child run of a workflow with this name was started:"
                f" {', '.join(map(repr, unused))}"
            )
