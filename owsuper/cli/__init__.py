"""The ``owsuper`` command: parses, then calls one function.

Standard output is for data, standard error for messages. A mistake of the user's is answered
by one message and an exit code of its own, never by a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from owsuper.cli import bench, environment, migrate, output, runs, signals, start, worker
from owsuper.cli.arguments import Command, Parser
from owsuper.errors import (
    ConfigurationError,
    DatabaseUnreachable,
    EmbeddedUnavailable,
    OwsuperError,
)
from owsuper.supervisor.exit_status import ExitCode

COMMANDS: dict[str, Command] = {
    "worker": worker.COMMAND,
    "start": start.COMMAND,
    "runs": runs.COMMAND,
    **{f"runs {name}": command for name, command in runs.COMMANDS.items()},
    "signal": signals.COMMAND,
    "migrate": migrate.COMMAND,
    "bench": bench.COMMAND,
}

_EXAMPLES = """\
commands:
{commands}
  (owsuper COMMAND --help says more)

examples:
  owsuper --module app.workflows                     a worker, one process per processor
  owsuper --processes 8 --module app.workflows:ow    ... with the workflows of one object
  owsuper --module flows.py --poll-interval 500ms    ... with those of one file
  owsuper start send-welcome-email --input '{{"user_id": 7}}'
  owsuper runs list --status failed                  what has failed lately?
  owsuper runs show 6f1c2ab0-...                     what became of this run, step by step?
  owsuper signal expense-7 --data '{{"by": "Ada"}}'    to the runs that wait for it
  owsuper migrate                                    create or update the tables
  owsuper migrate --check                            are they there? exits 1 if not
  owsuper migrate --sql | psql mydb                  for those who read SQL before it runs
  owsuper bench pickup throughput                    how fast is it here?

settings:
  Every option may also be set in the environment (the name in brackets) or under
  [tool.owsuper] in ./pyproject.toml, by the name of the flag: poll-interval = "500ms".
  Flags win over the environment, and that over pyproject.toml.
  Durations are text such as 500ms, 30s, 5m, 1h; a bare number is seconds.

signals:
  TERM or INT: finish what runs, then exit. A second INT, or QUIT: stop now.

exit codes:
{exit_codes}
"""

_EXIT_CODES = {
    ExitCode.CLEAN: "done, or stopped on request",
    ExitCode.ERROR: "anything that is not listed below; migrate --check: something is missing;\n"
    "     start --wait and runs wait: the run failed, was canceled, or goes on",
    ExitCode.USAGE: "bad options or settings",
    ExitCode.IMPORT_ERROR: "the application cannot be loaded",
    ExitCode.DATABASE_UNREACHABLE: "no database at start (later outages are waited out)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    output.accept_any_text()
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except OwsuperError as error:
        print(f"owsuper: error: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return 128 + 2  # as a shell reports a process that INT ended


def exit_code(error: OwsuperError) -> ExitCode:
    """The exit code that ``error`` at start ends the process with."""
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    if isinstance(error, DatabaseUnreachable | EmbeddedUnavailable):
        return ExitCode.DATABASE_UNREACHABLE
    return ExitCode.ERROR


def _run(argv: Sequence[str]) -> int:
    for words in (2, 1):
        name = " ".join(argv[:words])
        if name in COMMANDS:
            command, argv = COMMANDS[name], argv[words:]
            parser = Parser(f"owsuper {name}", description=f"{command.summary}.")
            break
    else:
        command, parser = COMMANDS["worker"], _top()
    command.add_options(parser)
    arguments = parser.parse(argv)
    if "version" in arguments:
        return worker.show_version()
    for variable, meant in environment.misspelt(os.environ):
        output.say(f"warning: {variable}: there is no such setting; did you mean {meant}?")
    return command.run(arguments)


def _top() -> Parser:
    commands = [f"  {name:<12} {command.summary}" for name, command in COMMANDS.items()]
    codes = [f"  {code.value}  {meaning}" for code, meaning in _EXIT_CODES.items()]
    parser = Parser(
        "owsuper",
        usage="owsuper [worker] --module MODULE [options]\n       owsuper COMMAND [options]",
        description="Run durable workflows: a supervisor and its child processes.",
        epilog=_EXAMPLES.format(commands="\n".join(commands), exit_codes="\n".join(codes)),
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    return parser
