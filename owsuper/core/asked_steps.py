"""Which steps an execution has called, and which recorded ones it has not reached."""

from __future__ import annotations

from collections.abc import Iterable

from owsuper.core.model import RecordedAttempt
from owsuper.core.names import StepNames
from owsuper.core.patches import is_new_branch


class AskedSteps:
    """The steps that one execution has called, beside those that earlier executions recorded.

    ``recorded`` holds the keys of all ``attempts``, which are given oldest first.
    """

    def __init__(self, attempts: Iterable[RecordedAttempt], recorded: frozenset[str]) -> None:
        self._recorded = recorded
        self._names = StepNames()
        self._keys: set[str] = set()
        silent: set[str] = set()
        self.missing: dict[str, None] = {}
        """The keys of recorded steps that this execution has not called, oldest first."""
        for each in attempts:
            if each.is_abandoned or (each.context is not None and is_new_branch(each)):
                silent.add(each.step_name)
            else:
                self.missing[each.step_name] = None
        self._silent = frozenset(silent)
        """The keys of attempts that show where a run has been, and need not be called again."""

    def next_key(self, name: str, formerly: str | None = None) -> str:
        """Return the key of the next step named ``name``; keys depend on the order of calls.

        A step that is recorded only under the name that it had ``formerly`` keeps that key. Both
        keys are used up, so that the keys of other calls do not depend on what is recorded.
        """
        key = self._names.resolve(name)
        if formerly is not None:
            former = self._names.resolve(formerly)
            self.missing.pop(former, None)
            if key not in self._recorded and former in self._recorded:
                key = former
        self.add(key)
        return key

    def add(self, key: str) -> None:
        """Note a call whose key does not depend on the order of calls."""
        self._keys.add(key)
        self.missing.pop(key, None)

    def __len__(self) -> int:
        """The number of steps that were called."""
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        """Whether this key is used up, by a call of the step or of one that had its name."""
        return key in self._names or key in self._keys

    @property
    def are_behind(self) -> bool:
        """Whether an earlier execution has come further than this one is now."""
        return bool(self.missing) or not self._silent <= self._keys

    @property
    def are_beyond(self) -> bool:
        """Whether one of the steps was not recorded by any earlier execution."""
        return not self._keys <= self._recorded
