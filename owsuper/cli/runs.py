"""``owsuper runs ...``: list, show, count, export, cancel, retry, rerun, wake and wait for runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from owsuper import RunHandle
from owsuper.cli import export, list_runs, many_runs, run_logs, show, skip_undo
from owsuper.cli.arguments import Command
from owsuper.cli.client_command import (
    add_common,
    add_full,
    add_id,
    add_timeout,
    client,
    explain,
    find,
    json_argument,
    layout,
    print_result,
)
from owsuper.cli.formatting import now, printable
from owsuper.cli.output import (
    document_of,
    document_of_counts,
    print_data,
    print_json,
    print_message,
)
from owsuper.cli.tables import table
from owsuper.client.many_runs import (
    FAILED,
    OPEN,
    cancelable,
    canceling,
    retryable,
    retrying,
)
from owsuper.core.model import StepKind
from owsuper.core.pages import MAX_PAGE_SIZE
from owsuper.errors import ConfigurationError, RunError, RunNotFound
from owsuper.supervisor.exit_status import ExitCode

# --- show ------------------------------------------------------------------------------------


def _add_show_options(parser: argparse.ArgumentParser) -> None:
    add_id(parser)
    add_full(parser)
    add_common(parser)


def _show(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        handle = find(ow, arguments.id)
        run, progress = handle.details(), handle.progress()
        page = ow.list_step_attempts(run.id, limit=MAX_PAGE_SIZE)
        retries = ow.list_retries(run.id)
        steps = [*page.items]
        while page.next_cursor:
            page = ow.list_step_attempts(run.id, limit=MAX_PAGE_SIZE, after=page.next_cursor)
            steps += page.items
        may_skip = any(step.kind is StepKind.SIGNAL_WAIT for step in steps)
        skipped = ow.list_skipped_signals(run.id) if may_skip else []
        deaths = ow.list_post_mortems(run.id)
        undo = None
        if run.undone_by is not None:
            with suppress(RunNotFound):  # it may be deleted before this run
                undo = ow.get_run(run.undone_by).status()
    if "json" in arguments:
        print_json(
            {
                "run": document_of(run),
                "steps": [document_of(step) for step in steps],
                "retries": [document_of(retry) for retry in retries],
                "skipped_signals": [asdict(signal) for signal in skipped],
                "post_mortems": [asdict(death) for death in deaths],
                "progress": None if progress is None else asdict(progress),
            }
        )
    else:
        about = (run, steps, retries, now(), layout(arguments))
        lines = show.details(*about, skipped=skipped, deaths=deaths, progress=progress, undo=undo)
        print_data("\n".join(lines))
    return ExitCode.CLEAN


# --- cancel, retry, rerun, wake --------------------------------------------------------------

_ABOUT_RERUNS: Final = """\
Starts a new run, whose id is printed; the old run stays as it is, and must have ended. Steps that
began before STEP keep their results and are not called again. Without --from, the new run begins at
the beginning. The command cannot check that a new input fits the workflow.

examples:
  owsuper runs rerun 0198c2e4 --from charge
  owsuper runs rerun 0198c2e4 --from charge --input '{"amount": 7}'
"""

_ABOUT_WAKING: Final = """\
A sleep is over, and a wait for a signal times out. A retry, and a run that is to start later, are
due at once. A wait for a child run does not end: wake the child run.

examples:
  owsuper runs wake 0198c2e4
  owsuper runs wake 0198c2e4 --step cool-off
"""


def _add_ids_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ids", metavar="ID", nargs="+", help="the ids of the runs, or their beginnings"
    )
    add_common(parser)


_ABOUT_GOING_BACK: Final = """\
With --from, the run goes back to STEP in place: steps that began before it keep their results and
failures; it and all later ones are called again. What they have done is not taken back.
"""

_ABOUT_MANY: Final = """\
Filters stand in place of ids: all runs that match are changed, one by one, the newest first. The
command counts them and asks, unless there is --yes. It can be repeated if it was interrupted. With
--json, it prints numbers, and the reasons of the first hundred runs that refused.

examples:
  owsuper runs {verb} 0198c2e4 0198c2e5
  owsuper runs {verb} --workflow order --since 1h
  owsuper runs {verb} --attribute tenant=7 --yes
"""


def _add_many_options(
    parser: argparse.ArgumentParser, verb: str, statuses: tuple[str, ...]
) -> None:
    parser.add_argument(
        "ids", metavar="ID", nargs="*", help="the ids of the runs, or their beginnings"
    )
    many_runs.add_filters(parser, statuses)
    add_common(parser)
    parser.epilog = _ABOUT_MANY.format(verb=verb)


def _add_retry_options(parser: argparse.ArgumentParser) -> None:
    _add_many_options(parser, "retry", FAILED)
    parser.add_argument(
        "--from",
        dest="from_step",
        metavar="STEP",
        help="go back to this step, also if a run by id was canceled or has completed",
    )
    example = "  owsuper runs retry 0198c2e4 --from charge\n"
    parser.epilog = f"{_ABOUT_GOING_BACK}\n{parser.epilog}{example}"


def _add_cancel_options(parser: argparse.ArgumentParser) -> None:
    _add_many_options(parser, "cancel", OPEN)
    parser.add_argument(
        "--children", action="store_true", help="cancel their child runs too, and theirs in turn"
    )


def _cancel(arguments: argparse.Namespace) -> int:
    children = "children" in arguments
    if many_runs.has_filters(arguments):
        work = canceling(children=children)
        return many_runs.change(arguments, "cancel", "canceled", cancelable, work)
    return _for_each_run(arguments, lambda run: run.cancel(children=children), "canceled")


def _retry(arguments: argparse.Namespace) -> int:
    step = vars(arguments).get("from_step")
    if many_runs.has_filters(arguments):
        return many_runs.change(arguments, "retry", "retried", retryable, retrying(step))
    return _for_each_run(arguments, lambda run: run.retry(step), "retried")


def _add_wake_options(parser: argparse.ArgumentParser) -> None:
    _add_ids_options(parser)
    parser.add_argument("--step", metavar="NAME", help="end only the wait of this step")
    parser.epilog = _ABOUT_WAKING


def _wake(arguments: argparse.Namespace) -> int:
    step = vars(arguments).get("step")
    return _for_each_run(arguments, lambda run: run.wake(step), "woken")


def _add_rerun_options(parser: argparse.ArgumentParser) -> None:
    add_id(parser)
    parser.add_argument(
        "--from",
        dest="from_step",
        metavar="STEP",
        help="keep the results of the steps before this one",
    )
    parser.add_argument(
        "--input",
        type=json_argument,
        metavar="JSON",
        help="another input; - reads standard input",
    )
    add_common(parser)
    parser.epilog = _ABOUT_RERUNS


def _rerun(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    changed = {"input": typed["input"]} if "input" in typed else {}
    with client(arguments) as ow:
        again = find(ow, arguments.id, to_change=True).rerun(typed.get("from_step"), **changed)
    if "json" in typed:
        print_json({"id": again.id})
    else:
        print_data(again.id)
    return ExitCode.CLEAN


def _for_each_run(
    arguments: argparse.Namespace, change: Callable[[RunHandle[Any]], None], done: str
) -> int:
    """Apply ``change`` to each run, also after a refusal."""
    document: dict[str, Any] = {done: [], "refused": {}}
    with client(arguments) as ow:
        for text in dict.fromkeys(arguments.ids):
            try:
                handle = find(ow, text, to_change=True)
                change(handle)
            except RunError as error:
                reason = explain(error, arguments)
                document["refused"][text] = reason
                print_message(f"error: {reason}")
            else:
                document[done].append(handle.id)
                print_message(f"{done}: {printable(handle.id)}")
    if "json" in arguments:
        print_json(document)
    return ExitCode.ERROR if document["refused"] else ExitCode.CLEAN


# --- wait, count -----------------------------------------------------------------------------


def _add_wait_options(parser: argparse.ArgumentParser) -> None:
    add_id(parser)
    add_timeout(parser)
    add_common(parser)


def _wait(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        print_result(find(ow, arguments.id), arguments)
    return ExitCode.CLEAN


def _count(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        counts = document_of_counts(ow.count_runs())
    if "json" in arguments:
        print_json(counts)
    else:
        print_data("\n".join(table(counts.items(), right=(1,))))
    return ExitCode.CLEAN


# --- the group of commands -------------------------------------------------------------------

COMMANDS: Final[dict[str, Command]] = {
    "list": list_runs.COMMAND,
    "show": Command("Show a run and its steps", _add_show_options, _show),
    "logs": run_logs.COMMAND,
    "cancel": Command("Cancel runs", _add_cancel_options, _cancel),
    "retry": Command("Retry failed runs from the failed step", _add_retry_options, _retry),
    "rerun": Command("Repeat an ended run from a step on", _add_rerun_options, _rerun),
    "skip-undo": skip_undo.COMMAND,
    "wake": Command("End the waits of runs now", _add_wake_options, _wake),
    "wait": Command("Wait for a run to end, and print its result", _add_wait_options, _wait),
    "count": Command("Count the runs of each status", add_common, _count),
    "export": export.COMMAND,
}


def _add_group_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="see below")
    lines = (f"  {name:<9} {command.summary}" for name, command in COMMANDS.items())
    parser.epilog = "\n".join(
        ["commands:", *lines, "  (owsuper runs COMMAND --help says more)"],
    )


def _reject_late_command(arguments: argparse.Namespace) -> int:
    raise ConfigurationError(
        f"the command must follow at once: type owsuper runs {arguments.command}"
        " (see owsuper runs --help)"
    )


COMMAND = Command(
    "List, show, export, cancel, retry, rerun, wake and wait for runs",
    _add_group_options,
    _reject_late_command,
)
