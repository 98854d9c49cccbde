"""``owsuper ps``: list the workers on all hosts, their child processes, and what each does."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, add_full, client, layout, searched
from owsuper.cli.formatting import now
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.cli.worker_table import worker_table
from owsuper.supervisor.exit_status import ExitCode


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_full(parser)
    add_common(parser)


def _run(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        workers = ow.list_workers()
    if "json" in arguments:
        print_json({"workers": [asdict(worker) for worker in workers]})
    elif workers:
        print_data("\n".join(worker_table(workers, now(), layout(arguments))))
    else:
        print_message(f"no worker is connected ({searched(arguments)})")
    return ExitCode.CLEAN


COMMAND = Command("List workers and their processes on all hosts", _add_options, _run)
