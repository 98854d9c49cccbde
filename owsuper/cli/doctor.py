"""``owsuper doctor``: check database, tables and settings, and say how to mend what is wrong."""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Final

from owsuper import setting_sources
from owsuper.cli import database
from owsuper.cli.arguments import Command, add_settings, flags
from owsuper.cli.formatting import printable, wrapped
from owsuper.cli.output import print_data, print_json, print_message, terminal_width
from owsuper.doctor.examination import examine
from owsuper.doctor.findings import CheckResult, Level
from owsuper.settings import SETTING_TYPES
from owsuper.supervisor.exit_status import ExitCode

_WIDTHS: Final = (max(map(len, Level)), len("notifications"))  # of level and subject


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    add_settings(parser, [name for name in SETTING_TYPES if name not in ("modules", "migrate")])


def _run(arguments: argparse.Namespace) -> int:
    chosen = setting_sources.load(flags(arguments))
    found: list[CheckResult] = []
    with ExitStack() as stack:
        url = database.choose(chosen, None, stack)
        for finding in examine(replace(chosen, database_url=url), url):
            found.append(finding)
            if "json" not in arguments:
                print_data("\n".join(_lines(finding, terminal_width())))
    counts = Counter(finding.level for finding in found)
    if "json" in arguments:
        print_json({"findings": [asdict(finding) for finding in found]})
    else:
        print_message(_summary(counts))
    return ExitCode.ERROR if counts[Level.PROBLEM] else ExitCode.CLEAN


def _lines(finding: CheckResult, width: int | None) -> list[str]:
    level, subject = _WIDTHS
    begin = f"{finding.level:<{level}}  {finding.subject:<{subject}}  "
    room = None if width is None else max(width - len(begin), 20)
    texts = wrapped(printable(finding.message), room, indent="")
    if finding.mend:
        texts += wrapped(f"-> {printable(finding.mend)}", room, indent="   ")
    return [
        f"{begin if number == 0 else ' ' * len(begin)}{text}" for number, text in enumerate(texts)
    ]


def _summary(counts: Counter[Level]) -> str:
    texts = [
        f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}"
        for level in (Level.PROBLEM, Level.WARNING)
        if counts[level]
    ]
    return " and ".join(texts) if texts else "no problems found"


COMMAND = Command("Check database, tables and settings", _add_options, _run)
