"""``owsuper replay``: may this code be deployed while runs are in progress?"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from owsuper import OpenWorkflow, settings
from owsuper.child.loader import LoadError, load
from owsuper.cli.arguments import Command, add_settings, flags, typed_as
from owsuper.cli.client_command import past
from owsuper.cli.formatting import printable
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.core.names import list_names
from owsuper.errors import ConfigurationError
from owsuper.setting_types import whole
from owsuper.supervisor.exit_status import ExitCode

_SINCE: Final = timedelta(days=7)
_LIMIT: Final = 1000
_SETTINGS: Final = ("modules", "database_url", "schema", "namespace", "call_timeout")

_ABOUT = """\
Replays the histories of recorded runs by the code of the modules, and executes no step. It exits
with 1 if the code does not fit a history, and names the first step that does not: that run would
fail, or go on wrongly, if this code were deployed now. New steps behind the recorded ones fit runs
that are in progress.

The command only reads the database, so a replica or a copy will do.

examples:
  owsuper replay --module app.workflows --database-url postgresql://replica/app
  owsuper replay --module app.workflows --since 30d --workflow order --limit 10000
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    add_settings(parser, _SETTINGS)
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    chosen = settings.load(flags(arguments))
    if not chosen.modules:
        raise ConfigurationError(
            "no module: name the module with your workflows by --module app.workflows"
        )
    try:
        application = load(chosen.modules)
    except LoadError as error:
        if error.traceback:
            print_message(error.traceback.rstrip())
        print_message(f"error: {error.message}")
        return ExitCode.IMPORT_ERROR
    from owsuper.testing.histories import Histories
    from owsuper.testing.replaying import Replayer

    logging.getLogger("owsuper.child").setLevel(logging.CRITICAL)  # it tells of what is replayed
    typed = vars(arguments)
    filters: dict[str, Any] = {"since": typed.get("since", _SINCE)}
    if "workflow" in typed:
        filters["workflow"] = typed["workflow"]
    misfits, replayed, unknown = [], 0, Counter[str]()
    with ExitStack() as stack:
        ow = OpenWorkflow(
            chosen.database_url or application.database_url,
            namespace=chosen.namespace,
            schema=chosen.schema,
            listen=False,
            call_timeout=chosen.call_timeout,
        )
        stack.callback(ow.close)
        histories = Histories(ow)
        replayer = stack.enter_context(
            Replayer(application.registry, now=datetime.now(UTC), read_input=histories.read_input)
        )
        for history in histories.newest(typed.get("limit", _LIMIT), **filters):
            try:
                misfit = replayer.replay(history)
            except LookupError:
                unknown[history.run.workflow_name] += 1
                continue
            replayed += 1
            if misfit is not None:
                misfits.append(misfit)
                if "json" not in typed:
                    print_data(_line(misfit))
    if "json" in typed:
        print_json(
            {
                "replayed": replayed,
                "skipped": dict(unknown),
                "misfits": [asdict(misfit) for misfit in misfits],
            }
        )
    if unknown:
        print_message(
            f"skipped {_runs(unknown.total())} of workflows that the modules do not define:"
            f" {list_names(sorted(unknown))}"
        )
    fit = replayed - len(misfits)
    print_message(f"replayed {_runs(replayed)}: {fit} fit, {len(misfits)} do not")
    return ExitCode.ERROR if misfits else ExitCode.CLEAN


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _line(misfit: Any) -> str:
    version = "" if misfit.version is None else f" (version {misfit.version})"
    step = "" if misfit.step is None else f" step {misfit.step!r}:"
    return printable(f"{misfit.run_id} {misfit.workflow_name}{version}:{step} {misfit.reason}")


COMMAND = Command("Replay recorded runs by new code, before it is deployed", _add_options, _run)
