"""How long runs that have ended are kept, as users write it.

``30d`` is about all runs that have ended, ``failed=90d`` about those with this status, and
``workflow:nightly=7d`` about those of this workflow. The narrowest rule decides: that of the
workflow, then that of the status, then the one without either. ``forever`` keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from owsuper.core import durations
from owsuper.core.durations import Duration
from owsuper.core.model import RunStatus
from owsuper.core.names import check_workflow_name
from owsuper.errors import ConfigurationError, InvalidDuration

ENDED: Final = tuple(status for status in RunStatus if status.is_terminal)
_STATUSES: Final = tuple(status for status in ENDED if status.current is status)
_WORKFLOW: Final = "workflow:"
_FOREVER: Final = "forever"
_LEAST, _MOST = 60.0, 100 * 366 * 86_400.0  # seconds
_ALLOWED: Final = (
    "Write a duration such as 30d, or forever; failed=90d for runs with that status; or"
    " workflow:nightly=7d for runs of that workflow."
)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long to keep ended runs, in seconds; None stands for as long as there is room.

    ``everything`` is about runs without a rule of their own.
    """

    everything: float | None = None
    statuses: dict[RunStatus, float | None] = field(default_factory=dict)
    workflows: dict[str, float | None] = field(default_factory=dict)

    def keep(self, workflow: str, status: RunStatus) -> float | None:
        """Return for how long to keep runs of this workflow that have ended so."""
        if workflow in self.workflows:
            return self.workflows[workflow]
        return self.statuses.get(status.current, self.everything)


def read(rules: Iterable[str]) -> Retention:
    """Return what the rules say together. Raises ConfigurationError, which names the rule."""
    found: dict[str, float | None] = {}
    for rule in rules:
        target, separator, length = rule.rpartition("=")
        target = target.strip()
        if separator and not target:
            raise ConfigurationError(f"{rule!r:.80}: nothing stands before the =. {_ALLOWED}")
        _check_target(target, rule)
        if target in found:
            about = target or "all runs"
            raise ConfigurationError(f"{rule!r:.80}: there is another rule about {about}")
        found[target] = _seconds(length.strip(), rule)
    return Retention(
        found.get(""),
        {status: found[status] for status in _STATUSES if status in found},
        {
            target.removeprefix(_WORKFLOW): seconds
            for target, seconds in found.items()
            if target.startswith(_WORKFLOW)
        },
    )


def longest(all_rules: Sequence[Retention], workflow: str, status: RunStatus) -> float | None:
    """Return for how long to keep such runs, so that none of the rules is broken."""
    most = 0.0
    for rules in all_rules:
        seconds = rules.keep(workflow, status)
        if seconds is None:
            return None
        most = max(most, seconds)
    return most


def check_status(status: RunStatus | str) -> RunStatus:
    """Return the status of an ended run. Raises ConfigurationError for anything else."""
    for each in _STATUSES:
        if status == each:
            return each
    raise ConfigurationError(
        f"status: {str(status)!r:.80} is not the status of a run that has ended:"
        f" {', '.join(_STATUSES)}"
    )


def age(value: Duration, parameter: str) -> float:
    """Return the age of runs in seconds. Raises InvalidDuration, which names ``parameter``."""
    try:
        seconds = durations.seconds(value)
    except InvalidDuration as error:
        raise InvalidDuration(f"{parameter}: {error}") from None
    if not _LEAST <= seconds <= _MOST:
        raise ConfigurationError(f"{parameter}: {value!r:.80} must be from 1m to 100 years")
    return seconds


def _check_target(target: str, rule: str) -> None:
    if target.startswith(_WORKFLOW):
        try:
            check_workflow_name(target.removeprefix(_WORKFLOW))
        except ConfigurationError as error:
            raise ConfigurationError(f"{rule!r:.80}: {error}") from None
    elif target and target not in _STATUSES:
        raise ConfigurationError(
            f"{rule!r:.80}: {target!r:.40} is not the status of a run that has ended"
            f" ({', '.join(_STATUSES)}). {_ALLOWED}"
        )


def _seconds(length: str, rule: str) -> float | None:
    if length.lower() == _FOREVER:
        return None
    try:
        seconds = durations.seconds(length)
    except InvalidDuration:
        raise ConfigurationError(
            f"{rule!r:.80}: {length!r:.40} is no duration. {_ALLOWED}"
        ) from None
    if not _LEAST <= seconds <= _MOST:
        raise ConfigurationError(f"{rule!r:.80}: a duration must be from 1m to 100y, or forever")
    return seconds
