"""``owsuper prune``: delete runs that ended long ago."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, client
from owsuper.cli.formatting import printable
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.cli.question import agreed, must_ask
from owsuper.cli.tables import table
from owsuper.client.pruning import OnDelete, keep_rule, run_pass
from owsuper.errors import OwsuperError
from owsuper.retention.archive import Archive
from owsuper.retention.passes import Pruned
from owsuper.supervisor.exit_status import ExitCode

_ABOUT: Final = """\
Deletes runs that have ended, with their step attempts, signals, post-mortems, log lines, progress
and attributes, in small batches. A run stays while something still needs it: a parent that has not
ended, an idempotency key that still stands for it, the run as which it continued, or undos that
are left.

With --archive, runs are first written to files of JSON Lines, one for each day, in the form of
owsuper runs export. Workers do the same all the time: owsuper --retain 30d.

examples:
  owsuper prune --older-than 30d --dry-run
  owsuper prune --older-than 30d --status completed --yes
  owsuper prune --older-than 90d --workflow nightly --archive /var/archive --yes
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than",
        required=True,
        metavar="DURATION",
        help="delete runs that ended longer ago than this, such as 30d",
    )
    parser.add_argument(
        "--status", metavar="STATUS", help="only runs that are completed, failed or canceled"
    )
    parser.add_argument("--workflow", metavar="NAME", help="only runs of this workflow")
    parser.add_argument(
        "--archive", metavar="DIR", help="write the runs to files in this directory first"
    )
    parser.add_argument("--dry-run", action="store_true", help="count the runs, and delete none")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_common(parser)
    parser.epilog = _ABOUT


def _run(arguments: argparse.Namespace) -> int:
    typed = vars(arguments)
    keep = keep_rule(arguments.older_than, typed.get("status"), typed.get("workflow"))
    dry_run = "dry_run" in typed
    ask = not dry_run and must_ask(arguments, "pass --yes to delete, or --dry-run to count,")
    copy: OnDelete | None = None
    if "archive" in typed and not dry_run:
        copy = _copying_to(arguments.archive)
    with client(arguments) as ow:
        session = ow._database.session()
        if ask:
            counted = Pruned()
            run_pass(session, keep, counted, dry_run=True)
            if not counted.total or not agreed(_question(counted.total), arguments):
                print_message("nothing was deleted")
                return ExitCode.CLEAN
        pruned = Pruned()
        try:
            run_pass(session, keep, pruned, on_delete=copy, dry_run=dry_run)
        finally:
            _report(pruned, arguments, dry_run)
    return ExitCode.CLEAN


def _question(count: int) -> str:
    return f"Delete {count:,} {'run' if count == 1 else 'runs'}"


def _copying_to(directory: str) -> OnDelete:
    archive = Archive(directory)

    def copy(lines: Sequence[str]) -> None:
        try:
            archive.write(lines)
        except OSError as error:
            raise OwsuperError(f"no more runs are deleted: archive: {error}") from None

    return copy


def _report(pruned: Pruned, arguments: argparse.Namespace, dry_run: bool) -> None:
    counts = sorted(pruned.counts.items())
    if "json" in vars(arguments):
        each = [
            {"workflow": workflow, "status": status, "runs": count}
            for (workflow, status), count in counts
        ]
        print_json({"dry_run": dry_run, "runs": pruned.total, "counts": each})
        return
    if counts:
        cells = [
            (printable(workflow), status, f"{count:,}") for (workflow, status), count in counts
        ]
        for line in table([("workflow", "status", "runs"), *cells], right=[2]):
            print_data(line)
    did = "would delete" if dry_run else "deleted"
    print_message(f"{did} {pruned.total:,} {'run' if pruned.total == 1 else 'runs'}")


COMMAND = Command("Delete runs that ended long ago", _add_options, _run)
