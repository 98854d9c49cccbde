"""Strategies of Hypothesis: faults for ``run_in_process``, so that tests look for the worst ones.

This needs the package ``hypothesis``, which owsuper does not install.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from owsuper import extras
from owsuper.errors import ConfigurationError
from owsuper.testing.faults import Fault, StepFault, crash_after, crash_in, fail_once

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise extras.missing(error, "owsuper.testing.strategies", "hypothesis") from error

__all__ = ["crashes", "faults"]


def crashes(*, commits: int = 30, most: int = 3) -> st.SearchStrategy[list[Fault]]:
    """Return a strategy of at most ``most`` crashes, each after one of the first commits."""
    return st.lists(_commit_faults(commits), max_size=most, unique_by=repr)


def faults(
    steps: Sequence[str],
    errors: Sequence[Callable[[], BaseException]] = (),
    *,
    commits: int = 30,
    most: int = 3,
) -> st.SearchStrategy[list[Fault]]:
    """Return a strategy of at most ``most`` faults: crashes after commits, and faults in ``steps``.

    In a step, the process dies, or the function raises one of ``errors``, which are exception
    classes or functions that make an exception. A fault in a step that is not executed is none.
    Raises ConfigurationError for what is no list of names, and for what makes no exception.
    """
    if isinstance(steps, str):
        raise ConfigurationError(f"steps: expected a list of names, such as [{steps!r}]")
    for error in errors:
        if not callable(error):
            raise ConfigurationError(
                f"errors: expected classes, or functions that make an exception, not {error!r:.60}"
            )
    made: list[st.SearchStrategy[Fault]] = [_commit_faults(commits)]
    if steps:
        made.append(st.sampled_from(steps).map(lambda step: _optional(crash_in(step))))
    if steps and errors:
        made.append(
            st.tuples(st.sampled_from(steps), st.sampled_from(errors)).map(
                lambda drawn: _optional(fail_once(drawn[0], drawn[1]()))
            )
        )
    return st.lists(st.one_of(made), max_size=most)


def _commit_faults(commits: int) -> st.SearchStrategy[Fault]:
    return st.integers(1, commits).map(crash_after)


def _optional(fault: StepFault) -> Fault:
    return replace(fault, optional=True)
