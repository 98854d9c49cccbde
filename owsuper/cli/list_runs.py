"""``owsuper runs list``: list runs, the newest first, page by page."""

from __future__ import annotations

import argparse
from typing import Final, cast

from owsuper import OpenWorkflow, Page, Run
from owsuper.cli.arguments import Command, typed_as
from owsuper.cli.client_command import (
    add_attributes,
    add_common,
    add_full,
    attributes_of,
    client,
    find,
    layout,
    past,
    searched,
)
from owsuper.cli.formatting import now
from owsuper.cli.listing import folded, is_cut, listing
from owsuper.cli.output import document_of, print_data, print_json, print_message
from owsuper.client.listing import RunFilters
from owsuper.core.model import RunStatus
from owsuper.core.pages import PAGE_SIZE
from owsuper.setting_types import whole
from owsuper.supervisor.exit_status import ExitCode

_MAX_PAGES: Final = 20  # to fill one page with lines, where child runs are folded

_ABOUT = """\
On a terminal, columns are cut or left out to fit its width, and many similar child runs of one
parent are folded into two lines; --full shows everything. Other programs get everything that is
listed, on one line for each run.

Every filter is served by an index. All step attempts of a --parent are read, and for a --key
without --workflow one index entry for each workflow.

examples:
  owsuper runs list --status failed --since 1h
  owsuper runs list --workflow order --since 2026-03-01T00:00:00Z --until 2026-03-02T00:00:00Z
  owsuper runs list --key order:7
  owsuper runs list --attribute tenant=7 --status failed
  owsuper runs list --crashed --since 1d
  owsuper runs list --parent 019ac9e1-3b42-7f0e
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--status",
        choices=[status.value for status in RunStatus],
        metavar="STATUS",
        help="only runs that are pending, running (which includes waiting), completed, failed or"
        " canceled",
    )
    parser.add_argument("--workflow", metavar="NAME", help="only runs of this workflow")
    parser.add_argument("--key", metavar="KEY", help="only runs with this idempotency key")
    add_attributes(parser, "only runs with this attribute; may be given more than once")
    parser.add_argument("--parent", metavar="ID", help="only child runs of this run")
    parser.add_argument(
        "--crashed",
        action="store_true",
        help="only failed runs that were given up because they kept killing their process",
    )
    for option, side in (("--since", "at this time or later"), ("--until", "before this time")):
        parser.add_argument(
            option,
            type=typed_as(past),
            metavar="WHEN",
            help=f"only runs created {side}: a time with its zone, or how long ago, such as 1h",
        )
    parser.add_argument(
        "--limit",
        type=typed_as(whole(1, 1000)),
        metavar="N",
        help=f"at most N runs, of which folded ones do not count (default: {PAGE_SIZE})",
    )
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--after", metavar="CURSOR", help="the next page: older runs")
    page.add_argument("--before", metavar="CURSOR", help="the previous page: newer runs")
    add_full(parser)
    add_common(parser)
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    filters = cast(
        "RunFilters", {name: typed[name] for name in RunFilters.__annotations__ if name in typed}
    )
    if "attribute" in typed:
        filters["attributes"] = attributes_of(arguments)
    with client(arguments) as ow:
        if "parent" in filters:
            filters["parent"] = find(ow, typed["parent"]).id
        page = ow.list_runs(**filters)
        if "json" not in typed and "before" not in typed and is_cut(layout(arguments)):
            page = _filled(ow, page, filters)
    if "json" in typed:
        print_json(
            {
                "runs": [document_of(run) for run in page.items],
                "next_cursor": page.next_cursor,
                "previous_cursor": page.previous_cursor,
            }
        )
        return ExitCode.CLEAN
    if page.items:
        print_data("\n".join(listing(page.items, now(), layout(arguments))))
    else:
        print_message(f"no such runs ({searched(arguments)})")
    if page.next_cursor:
        print_message(f"there are older ones: --after {page.next_cursor}")
    if page.previous_cursor:
        print_message(f"there are newer ones: --before {page.previous_cursor}")
    return ExitCode.CLEAN


def _filled(ow: OpenWorkflow, page: Page[Run], filters: RunFilters) -> Page[Run]:
    """Return ``page`` with the next pages, until it has enough runs that are not folded."""
    limit = filters.get("limit", PAGE_SIZE)
    items, cursor = list(page.items), page.next_cursor
    for _ in range(_MAX_PAGES - 1):
        if cursor is None or len(folded(items)[0]) >= limit:
            break
        filters["after"] = cursor
        more = ow.list_runs(**filters)
        items += more.items
        cursor = more.next_cursor
    return Page(tuple(items), cursor, page.previous_cursor)


COMMAND = Command("List runs, the newest first", _add_options, _run)
