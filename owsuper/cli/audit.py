"""``owsuper audit``: what people have done to runs and workers through the dashboard."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Final, cast

from owsuper import setting_sources
from owsuper.cli.arguments import Command, flags, typed_as
from owsuper.cli.client_command import add_common, searched
from owsuper.cli.formatting import printable
from owsuper.cli.output import print_data, print_json, print_message, terminal_width, to_json
from owsuper.cli.tables import Column, fitted
from owsuper.client.session import Session
from owsuper.core import pages
from owsuper.core.pages import Page
from owsuper.db.audit import KEPT_DAYS, ActionEntry, AuditQueries, position_of
from owsuper.setting_types import whole
from owsuper.supervisor.exit_status import ExitCode

_ABOUT: Final = f"""\
The dashboard writes an entry before each action, and the answer after it. An entry without an
answer says that the dashboard ended, or lost the database, between the two. Entries are never
changed, and are deleted after {KEPT_DAYS} days. The newest come first.

examples:
  owsuper audit
  owsuper audit --limit 1000 --json
"""

_RANKS: Final = (1, 2, 6, 3, 4, 5)  # of the columns


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        type=typed_as(whole(1, pages.MAX_PAGE_SIZE)),
        metavar="N",
        help=f"the most entries (default: {pages.PAGE_SIZE})",
    )
    parser.add_argument("--after", metavar="CURSOR", help="the next page: its cursor was printed")
    add_common(parser)
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    window = pages.make_window(
        cast("int", typed.get("limit", pages.PAGE_SIZE)), typed.get("after"), None
    )
    chosen = setting_sources.load(flags(arguments))
    session = Session(chosen, Path.cwd() / ".owsuper")
    try:
        found = session.run(AuditQueries(chosen.schema, chosen.namespace).entries(window).run)
    finally:
        session.close()
    page = pages.make_page(window, found, position_of)
    if "json" in typed:
        print_json({"entries": [asdict(each) for each in page.items], "next": page.next_cursor})
    else:
        _print(page, arguments)
    return ExitCode.CLEAN


def _print(page: Page[ActionEntry], arguments: argparse.Namespace) -> None:
    if not page.items:
        print_message(f"no actions ({searched(arguments)})")
        return
    rows = [
        (
            f"{each.asked_at:%Y-%m-%d %H:%M:%S}",
            each.user or "-",
            each.address or "-",
            each.action,
            to_json(each.target),
            _answer(each),
        )
        for each in page.items
    ]
    headings = ("when", "who", "from", "action", "on", "answer")
    columns = [
        Column(heading=heading, cells=[printable(cell) for cell in cells], rank=rank, least=10)
        for rank, heading, cells in zip(_RANKS, headings, zip(*rows, strict=True), strict=True)
    ]
    for line in fitted(columns, terminal_width()):
        print_data(line)
    if page.next_cursor is not None:
        print_message(f"there are more: --after {page.next_cursor}")


def _answer(entry: ActionEntry) -> str:
    if entry.answered_at is None:
        return "no answer"
    return f"{entry.done} done, {entry.refused} refused"


COMMAND = Command("List what people did through the dashboard", _add_options, _run)
