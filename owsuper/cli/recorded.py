"""The options that choose recorded runs, whose histories are replayed or exported."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from owsuper.cli.arguments import typed_as
from owsuper.cli.client_command import past
from owsuper.setting_types import whole

if TYPE_CHECKING:
    from owsuper.testing.histories import Histories
    from owsuper.testing.replaying import RecordedRun

FILTERS: Final = ("unfinished", "workflow", "since", "limit")

_SINCE: Final = timedelta(days=7)
_LIMIT: Final = 1000


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--unfinished",
        action="store_true",
        help="only runs that are pending or running (which includes waiting)",
    )
    parser.add_argument("--workflow", metavar="NAME", help="only runs of this workflow")
    parser.add_argument(
        "--since",
        type=typed_as(past),
        metavar="WHEN",
        help="only runs created at this time or later: a time with its zone, or how long ago"
        " (default: 7d)",
    )
    parser.add_argument(
        "--limit",
        type=typed_as(whole(1, 10_000_000)),
        metavar="N",
        help=f"at most N runs, the newest first (default: {_LIMIT})",
    )


def chosen(histories: Histories, arguments: argparse.Namespace) -> Iterator[RecordedRun]:
    """Yield the histories that the options choose, the newest first."""
    typed = vars(arguments)
    filters: dict[str, Any] = {"since": typed.get("since", _SINCE)}
    if "workflow" in typed:
        filters["workflow"] = typed["workflow"]
    unfinished = "unfinished" in typed
    return histories.newest(typed.get("limit", _LIMIT), unfinished=unfinished, **filters)


def runs(count: int) -> str:
    """Return how many runs, in words."""
    return "1 run" if count == 1 else f"{count} runs"
