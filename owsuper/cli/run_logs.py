"""``owsuper runs logs``: the log lines of a run that workers have stored."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from owsuper import LogLine, RunHandle
from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, add_id, client, find
from owsuper.cli.formatting import printable
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.client.reports import LEVELS
from owsuper.db.reports import WRITE_SECONDS
from owsuper.log_formats import one_word
from owsuper.supervisor.exit_status import ExitCode

_ABOUT: Final = """\
Workers store the lines of runs if they are started with --keep-logs. With --follow, the command
goes on until the run has ended.

examples:
  owsuper runs logs 0198c2e4
  owsuper runs logs 0198c2e4 --level warning --follow
"""

_NONE: Final = (
    "no lines are stored of this run. Workers store them with --keep-logs; a process that is killed"
    " loses those of its last second"
)
_PAGE: Final = 1000
_PERIOD: Final = 1.0  # seconds between two looks
_LATE: Final = 1.0 + WRITE_SECONDS  # seconds by which lines of another process may come later


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument("--follow", action="store_true", help="print new lines until the run ends")
    parser.add_argument("--level", choices=list(LEVELS), help="the lowest level of the lines")
    add_common(parser, "one JSON document for each line")
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    level = typed.get("level") or "debug"
    found = False
    with client(arguments) as ow:
        run = find(ow, arguments.id)
        lines = _follow(run, level) if "follow" in typed else _all(run, level, 0)
        for line in lines:
            found = True
            if "json" in typed:
                print_json(asdict(line))
            else:
                print_data(text(line))
    if not found:
        none = f"no lines from level {level} up are stored of this run"
        print_message(none if "level" in typed else _NONE)
    return ExitCode.CLEAN


def text(line: LogLine) -> str:
    """Return a line as the log of a worker has it; control characters are shown as escapes."""
    at = line.logged_at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{line.logged_at.microsecond // 1000:03}Z"
    context = {"step": line.step, "attempt": line.attempt, **line.fields}
    pairs = "".join(
        f" {key}={one_word(value)}" for key, value in context.items() if value is not None
    )
    message = f"{at} {line.level.upper()} {line.pid} {line.logger}: {line.message}{pairs}"
    lines = [*message.split("\n"), *(line.exception or "").split("\n")]
    return "\n".join(printable(each) for each in lines if each)


def _all(run: RunHandle[Any], level: str, after: int) -> Iterator[LogLine]:
    """Yield the lines after the line ``after``."""
    while page := run.logs(after=after, level=level, limit=_PAGE):
        yield from page
        after = page[-1].id


def _follow(run: RunHandle[Any], level: str) -> Iterator[LogLine]:
    """Yield lines as they come, until the run has ended and its last lines must be there.

    What came in the last seconds is read again: lines with lower ids may come late.
    """
    seen: dict[int, float] = {}
    after, ended_at = 0, None
    while True:
        now = time.monotonic()
        for line in _all(run, level, after):
            if line.id not in seen:
                seen[line.id] = now
                yield line
        for line_id in sorted(seen):
            if now - seen[line_id] <= _LATE:
                break
            after = line_id
        seen = {line_id: at for line_id, at in seen.items() if line_id > after}
        if ended_at is not None and now - ended_at > _LATE:
            return
        if ended_at is None and run.status().is_terminal:
            ended_at = now
        time.sleep(_PERIOD)


COMMAND = Command("Show the stored log lines of a run", _add_options, _run)
