"""The ``owsuper`` command: parses its arguments, then calls one function.

Standard output is for data, standard error for messages. A user's mistake leads to one message
and an exit code of its own, never to a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Final

from owsuper.cli.arguments import Command, Parser, misspelled_variables
from owsuper.cli.output import prepare_streams, print_message
from owsuper.errors import (
    ConfigurationError,
    DatabaseUnreachable,
    EmbeddedUnavailable,
    OwsuperError,
)
from owsuper.supervisor.exit_status import ExitCode

_MODULES: Final = (
    *("worker", "start", "runs", "schedules", "workflows", "limits", "why", "ps", "top"),
    *("signal", "prune"),
    *("dashboard", "audit", "replay", "healthcheck", "reload", "migrate", "doctor", "bench"),
)


_GROUPS: Final = ("runs", "schedules", "workflows")


class _Commands(Mapping[str, Command]):
    """The commands by name, such as ``runs list``; each is imported when it is used.

    Importing all takes half a second of processor time, and memory that a supervisor would keep.
    """

    def __getitem__(self, name: str) -> Command:
        first, space, second = name.partition(" ")
        if first not in _MODULES:
            raise KeyError(name)
        module = import_module(f"owsuper.cli.{first}")
        command: Command = getattr(module, "COMMANDS", {})[second] if space else module.COMMAND
        return command

    def __iter__(self) -> Iterator[str]:
        for first in _MODULES:
            yield first
            more = getattr(import_module(f"owsuper.cli.{first}"), "COMMANDS", {})
            yield from (f"{first} {second}" for second in more)

    def __len__(self) -> int:
        return sum(1 for _ in self)


COMMANDS: Final = _Commands()

_EXAMPLES = """\
commands:
{commands}
  (owsuper COMMAND --help, or owsuper help COMMAND, says more)

examples:
  owsuper --module app.workflows                     a worker, one process per processor
  owsuper --processes 8 --module app.workflows:ow    ... with the workflows of one object
  owsuper --module flows.py --poll-interval 500ms    ... with the workflows of one file
  owsuper --module app.workflows --database-url postgresql://eu.example.com/app \\
      --database-url postgresql://us.example.com/app     ... for each of two databases
  owsuper start send-welcome-email --input '{{"user_id": 7}}'
  owsuper runs list --status failed                  the latest failed runs
  owsuper runs show 6f1c2ab0-...                     one run, step by step
  owsuper why 6f1c2ab0-...                           why a run is not running
  owsuper workflows pause report                     claim no runs of a workflow
  owsuper ps                                         what each worker and its processes do
  owsuper signal expense-7 --data '{{"by": "Ada"}}'    reaches the runs that wait for it
  owsuper replay --module app.workflows              does this code fit recorded runs?
  owsuper dashboard                                  runs and workers in the browser
  owsuper migrate                                    create or update the tables
  owsuper migrate --check                            check the tables; exits 1 if incomplete
  owsuper migrate --sql | psql mydb                  print the SQL, to read it before it runs
  owsuper healthcheck                                check the workers of this machine
  owsuper reload                                     have the worker reload its code
  owsuper prune --older-than 30d                     delete runs that ended long ago
  owsuper doctor                                     check database, tables and settings
  owsuper bench pickup throughput                    measure this database

settings:
  Every option may also be set in the environment (the name in brackets) or under
  [tool.owsuper] in ./pyproject.toml, by the name of the flag: poll-interval = "500ms".
  Flags win over the environment, and the environment wins over pyproject.toml.
  Durations are text such as 500ms, 30s, 5m, 1h; a bare number is seconds.

signals:
  TERM, INT: finish the runs in progress, then exit. A second INT, or QUIT: stop now.
  HUP: replace the code by what is on disk now. TTIN, TTOU: one process more, one less.

exit codes:
{exit_codes}
"""

_EXIT_CODES = {
    ExitCode.CLEAN: "done, or stopped on request",
    ExitCode.ERROR: "any other error; migrate --check: the tables are incomplete;\n"
    "     healthcheck and doctor: something is not well;\n"
    "     start --wait and runs wait: the run failed, was canceled, or has not ended",
    ExitCode.USAGE: "bad options or settings",
    ExitCode.IMPORT_ERROR: "the application cannot be loaded",
    ExitCode.DATABASE_UNREACHABLE: "no database at start (a running worker waits for it)",
    ExitCode.CHILDREN_FAILED: "at start, the child processes died before they could take a run",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    prepare_streams()
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except OwsuperError as error:
        print_message(f"error: {error}")
        return exit_code(error)
    except KeyboardInterrupt:
        return 128 + 2  # as a shell reports a process that INT ended


def exit_code(error: OwsuperError) -> ExitCode:
    """Return the exit code for an ``error`` that ends the command."""
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    if isinstance(error, DatabaseUnreachable | EmbeddedUnavailable):
        return ExitCode.DATABASE_UNREACHABLE
    return ExitCode.ERROR


def _run(argv: Sequence[str]) -> int:
    argv = _with_help(argv)
    for words in (2, 1):
        name = " ".join(argv[:words])
        if name in COMMANDS:
            command, argv = COMMANDS[name], argv[words:]
            parser = Parser(f"owsuper {name}", description=f"{command.summary}.")
            break
    else:
        command, parser = COMMANDS["worker"], _top(help_wanted=bool({"-h", "--help"} & set(argv)))
    command.add_options(parser)
    arguments = parser.parse(argv)
    if "version" in arguments:
        from owsuper.cli.worker import show_version

        return show_version()
    for variable, meant in misspelled_variables(os.environ):
        print_message(f"warning: {variable}: there is no such setting; did you mean {meant}?")
    return command.run(arguments)


def _with_help(argv: Sequence[str]) -> Sequence[str]:
    """Return ``help``, ``help COMMAND`` and ``runs help`` as words with ``--help``."""
    if list(argv[1:2]) == ["help"] and argv[0] in _GROUPS:
        argv = ["help", argv[0], *argv[2:]]
    if list(argv[:1]) != ["help"]:
        return argv
    name = " ".join(argv[1:])
    if name and name not in COMMANDS:
        raise ConfigurationError(f"no such command: {name} (see owsuper --help)")
    return [*argv[1:], "--help"]


def _top(*, help_wanted: bool) -> Parser:
    parser = Parser(
        "owsuper",
        usage="owsuper [worker] --module MODULE [options]\n       owsuper COMMAND [options]",
        description="Run durable workflows: a supervisor and its child processes.",
        epilog=_epilog() if help_wanted else None,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    return parser


def _epilog() -> str:
    commands = [f"  {name:<12} {command.summary}" for name, command in COMMANDS.items()]
    codes = [f"  {code.value}  {meaning}" for code, meaning in _EXIT_CODES.items()]
    return _EXAMPLES.format(commands="\n".join(commands), exit_codes="\n".join(codes))
