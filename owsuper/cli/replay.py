"""``owsuper replay``: may this code be deployed while runs are in progress?"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from owsuper import OpenWorkflow, setting_sources
from owsuper.child.loader import LoadError, load
from owsuper.cli import recorded
from owsuper.cli.arguments import Command, add_settings, flags
from owsuper.cli.formatting import printable
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.core.names import list_names
from owsuper.core.undoing import undone_workflow
from owsuper.errors import ConfigurationError
from owsuper.supervisor.exit_status import ExitCode

if TYPE_CHECKING:
    from owsuper.child.loader import Application
    from owsuper.settings import Settings
    from owsuper.testing.exported import ExportedHistories
    from owsuper.testing.replaying import Misfit, RecordedRun

_SETTINGS: Final = ("modules", "database_url", "schema", "namespace", "call_timeout")

_ABOUT = """\
Replays the histories of recorded runs by the code of the modules, and executes no step. It exits
with 1 if the code does not fit a history, and names the first step that does not: that run would
fail, or go on wrongly, if this code were deployed now. New steps behind the recorded ones fit runs
that are in progress.

The command only reads the database, so a replica or a copy will do. Or it reads what owsuper runs
export has printed, and needs no database.

examples:
  owsuper replay --module app.workflows --database-url postgresql://replica/app
  owsuper replay --module app.workflows --since 30d --workflow order --limit 10000
  owsuper replay --module app.workflows --since 30d --unfinished
  owsuper replay --module app.workflows --histories histories.jsonl
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    recorded.add_filters(parser)
    parser.add_argument(
        "--histories",
        action="append",
        metavar="FILE",
        help="replay what owsuper runs export has printed, in place of the runs of a database; -"
        " is standard input. May be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    add_settings(parser, _SETTINGS)
    parser.epilog = _ABOUT


_ReadInput = Callable[[str], bytes | None]


@dataclass
class _Outcome:
    """What the replay of many runs has shown. ``skipped`` counts runs by unknown workflows.

    ``undoing`` counts runs that undo others: the replay of those others knows their undos.
    """

    replayed: int = 0
    undoing: int = 0
    misfits: list[Misfit] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def _run(arguments: argparse.Namespace) -> int:
    chosen = setting_sources.load(flags(arguments))
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
    _check_workflow(arguments, application)
    logging.getLogger("owsuper.child").setLevel(logging.CRITICAL)  # it tells of what is replayed
    outcome = _replay(arguments, chosen, application)
    if "json" in vars(arguments):
        print_json(
            {
                "replayed": outcome.replayed,
                "skipped": dict(outcome.skipped),
                "undoing": outcome.undoing,
                "misfits": [asdict(misfit) for misfit in outcome.misfits],
            }
        )
    if outcome.skipped:
        print_message(
            f"skipped {recorded.runs(outcome.skipped.total())} of workflows that the modules do not"
            f" define: {list_names(sorted(outcome.skipped))}"
        )
    if outcome.undoing:
        print_message(
            f"left out {recorded.runs(outcome.undoing)} of undos: the replay of an undone run shows"
            " whether the code knows its undos"
        )
    misfits = len(outcome.misfits)
    fit = outcome.replayed - misfits
    print_message(f"replayed {recorded.runs(outcome.replayed)}: {fit} fit, {misfits} do not")
    return ExitCode.ERROR if misfits else ExitCode.CLEAN


def _check_workflow(arguments: argparse.Namespace, application: Application) -> None:
    """Raise ConfigurationError for a workflow whose runs would all be skipped."""
    name = vars(arguments).get("workflow")
    known = list(dict.fromkeys(name for name, _ in application.registry.names()))
    if name is not None and name not in known:
        raise ConfigurationError(
            f"--workflow: the modules define no workflow {name!r}. They define {list_names(known)}"
        )


def _replay(arguments: argparse.Namespace, chosen: Settings, application: Application) -> _Outcome:
    """Replay the runs that the arguments choose. Without --json, print each misfit at once."""
    from owsuper.testing.replaying import Replayer, UnknownWorkflow

    typed, outcome = vars(arguments), _Outcome()
    with ExitStack() as stack:
        if "histories" in typed:
            histories, read_input = _from_files(typed)
        else:
            database_url = chosen.database_url or application.database_url
            histories, read_input = _from_database(arguments, chosen, database_url, stack)
        replayer = stack.enter_context(
            Replayer(application.registry, now=datetime.now(UTC), read_input=read_input)
        )
        for history in histories:
            if undone_workflow(history.run.workflow_name) is not None:
                outcome.undoing += 1
                continue
            try:
                misfit = replayer.replay(history)
            except UnknownWorkflow:
                outcome.skipped[history.run.workflow_name] += 1
                continue
            outcome.replayed += 1
            if misfit is not None:
                outcome.misfits.append(misfit)
                if "json" not in typed:
                    print_data(_line(misfit))
    return outcome


def _from_database(
    arguments: argparse.Namespace, chosen: Settings, database_url: str | None, stack: ExitStack
) -> tuple[Iterator[RecordedRun], _ReadInput]:
    """Return the histories of a database, and what reads the inputs of child runs."""
    from owsuper.testing.histories import Histories

    ow = OpenWorkflow(
        database_url,
        namespace=chosen.namespace,
        schema=chosen.schema,
        listen=False,
        call_timeout=chosen.call_timeout,
    )
    stack.callback(ow.close)
    histories = Histories(ow)
    return recorded.chosen(histories, arguments), histories.read_input


def _from_files(typed: dict[str, Any]) -> tuple[Iterator[RecordedRun], _ReadInput]:
    """Return the histories of files. Raises ConfigurationError for options of the database."""
    from owsuper.testing.exported import ExportedHistories

    if others := [f"--{name}" for name in recorded.FILTERS if name in typed]:
        raise ConfigurationError(
            f"{list_names(others)} chooses among the runs of a database. With --histories, all runs"
            " of the files are replayed: pass the option to owsuper runs export"
        )
    histories = ExportedHistories()
    return _read_files(histories, typed["histories"]), histories.read_input


def _read_files(histories: ExportedHistories, names: Sequence[str]) -> Iterator[RecordedRun]:
    for name in names:
        if name == "-":
            yield from histories.read(sys.stdin, "standard input")
            continue
        try:
            with Path(name).open(encoding="utf-8") as file:
                yield from histories.read(file, name)
        except (OSError, UnicodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            raise ConfigurationError(f"--histories: cannot read {name}: {reason}") from None


def _line(misfit: Misfit) -> str:
    version = "" if misfit.version is None else f" (version {misfit.version})"
    step = "" if misfit.step is None else f" step {misfit.step!r}:"
    return printable(f"{misfit.run_id} {misfit.workflow_name}{version}:{step} {misfit.reason}")


COMMAND = Command("Replay recorded runs by new code, before it is deployed", _add_options, _run)
