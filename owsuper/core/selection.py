"""Which of the registered workflows a worker serves, by names and shell-style patterns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from owsuper.core.names import list_names

Workflow: TypeAlias = tuple[str, str | None]
"""Name and version."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The workflows that are served, in all their versions, and the patterns without effect.

    A mismatch is a sentence about a pattern that no registered name matches.
    """

    served: tuple[Workflow, ...]
    mismatches: tuple[str, ...] = ()


def select(
    registered: Iterable[Workflow], *, only: Sequence[str] = (), except_: Sequence[str] = ()
) -> Selection:
    """Return the registered workflows that match ``only``, or all, without those of ``except_``.

    In a pattern, ``*`` is any text, ``?`` is any character, and ``[ab]`` is one of these; letters
    match in their own case.
    """
    workflows = tuple(registered)
    if not only and not except_:
        return Selection(workflows)
    names = list(dict.fromkeys(name for name, _ in workflows))
    served = {
        name for name in names if (not only or _matches(name, only)) and not _matches(name, except_)
    }
    return Selection(
        tuple(workflow for workflow in workflows if workflow[0] in served),
        tuple(
            f"{option} {pattern}: no registered workflow has this name. There are"
            f" {list_names(sorted(names))}"
            for option, patterns in (("--only", only), ("--except", except_))
            for pattern in patterns
            if not any(fnmatchcase(name, pattern) for name in names)
        ),
    )


def nothing_left(
    only: Sequence[str], except_: Sequence[str], registered: Iterable[Workflow]
) -> str:
    """Return the message for a worker that would serve nothing."""
    options = [f"--only {each}" for each in only] + [f"--except {each}" for each in except_]
    names = sorted({name for name, _ in registered})
    return f"{' '.join(options)} leaves no workflow to serve. Registered are {list_names(names)}"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
