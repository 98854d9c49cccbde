"""Lists of runs as aligned text for people. Times are in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Final

from owsuper.cli.formatting import Layout, cut, moment, plain, relative, span, summary
from owsuper.cli.tables import Column, fitted, with_folds
from owsuper.client.limit_reasons import may_wait
from owsuper.client.models import Run
from owsuper.core.model import RunStatus

_MAX_SIMILAR: Final = 6  # similar child runs in a row; of more, only the first and last are listed
_SHORT_ID: Final = 18  # characters: all digits of the time in an id, and of a random id enough
_NOTE: Final = 60  # columns of a note where there is no terminal


def listing(runs: Sequence[Run], at: datetime, layout: Layout) -> list[str]:
    """Return a line for each run, under a heading; ``at`` is the present time.

    On a terminal, many similar child runs of one parent are folded.
    """
    shown, folds = folded(runs) if is_cut(layout) else (runs, {})
    columns = _columns(shown, at, layout)
    # The heading is a line, too.
    return with_folds(
        fitted(columns, None if layout.full else layout.width),
        {index + 1: cut(text, layout.width) for index, text in folds.items()},
    )


def _columns(runs: Sequence[Run], at: datetime, layout: Layout) -> list[Column]:
    width = layout.room()
    note = None if layout.full else _NOTE if layout.width is None else layout.width

    def column(heading: str, cells: list[str], rank: int, least: int, yields: int) -> Column:
        return Column(heading=heading, cells=cells, rank=rank, least=least, yields=yields)

    ids = [plain(run.id, None) for run in runs]
    versions = ["-" if run.version is None else plain(run.version, width) for run in runs]
    of_version = "VERSION"
    if is_cut(layout) and all(run.version is None for run in runs):
        of_version, versions = "", [""] * len(runs)
    return [
        Column(heading="ID", cells=ids, rank=1, least=_distinct(ids), yields=1, shorten=_beginning),
        column("WORKFLOW", [plain(run.workflow_name, width) for run in runs], 3, 16, 3),
        column(of_version, versions, 7, 7, 4),
        column("STATUS", [run.status for run in runs], 2, 9, 6),
        Column(
            heading="CREATED",
            cells=[moment(run.created_at) for run in runs],
            rank=4,
            least=12,
            yields=2,
            shorten=partial(_short_moment, year=f"{at:%Y}"),
        ),
        Column(heading="TOOK", cells=[_took(run) for run in runs], rank=6, least=8, right=True),
        column("", [_note(run, at, note) for run in runs], 5, 16, 3),
    ]


def _beginning(text: str, width: int) -> str:
    """Return the beginning of an id; ``owsuper`` takes it for the id if no other begins so."""
    return text[:width]


def _distinct(ids: Sequence[str]) -> int:
    """Return how many characters distinguish these ids, and most probably all others."""
    length = _SHORT_ID
    while len({run_id[:length] for run_id in ids}) < len(set(ids)):
        length += 1
    return length


def _short_moment(text: str, width: int, *, year: str) -> str:
    """Return a time of ``moment`` to the minute in the present ``year``, else its date."""
    return f"{text[5:16]}Z" if text.startswith(year) else text[:10]


def _took(run: Run) -> str:
    """Return how long an ended run took, from its first execution on; waits are included."""
    if run.finished_at is None or run.began_at is None:
        return ""
    return span((run.finished_at - run.began_at).total_seconds())


def _note(run: Run, at: datetime, width: int | None) -> str:
    if run.status is RunStatus.FAILED:
        return summary(run.error, width)
    if may_wait(run):
        return "waits for a limit"
    if not run.status.is_terminal and run.worker_id is None and run.available_at is not None:
        return f"due {relative(run.available_at, at)}"
    return ""


# --- folding ---------------------------------------------------------------------------------


def is_cut(layout: Layout) -> bool:
    """Whether the list is made to fit a terminal, and similar runs are folded."""
    return layout.width is not None and not layout.full


def folded(runs: Sequence[Run]) -> tuple[list[Run], dict[int, str]]:
    """Return the runs to list, and by index the text before a run for those left out."""
    shown: list[Run] = []
    folds: dict[int, str] = {}
    for _, similar in groupby(runs, _similarity):
        group = list(similar)
        if len(group) > _MAX_SIMILAR and group[0].parent is not None:
            parent = plain(group[0].parent.run_id)[:_SHORT_ID]
            left_out = len(group) - 2
            group = [group[0], group[-1]]
            folds[len(shown) + 1] = f"... {left_out} more child runs of {parent} ..."
        shown += group
    return shown, folds


def _similarity(run: Run) -> tuple[object, ...]:
    """Return the key that is equal for child runs of which only some need a line."""
    error = run.error and (run.error.name, run.error.message)
    parent = run.parent.run_id if run.parent else None
    due = not run.status.is_terminal and (run.worker_id, bool(run.available_at))
    return (parent, run.workflow_name, run.version, run.status, error, due)
