"""``owsuper ps``: list the workers on all hosts, their child processes, and what each does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict

from owsuper import WorkerStatus
from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, add_full, client, layout, searched
from owsuper.cli.formatting import plain, printable
from owsuper.cli.output import print_data, print_json, print_message
from owsuper.cli.worker_table import worker_table
from owsuper.cli.workflows import describe
from owsuper.client.worker_texts import title
from owsuper.supervisor.exit_status import ExitCode


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stacks",
        action="store_true",
        help="show where the code of each process is: its threads and asyncio tasks",
    )
    add_full(parser)
    add_common(parser)


def _run(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        workers = ow.list_workers(stacks="stacks" in arguments)
        pauses = [each.pause for each in ow.list_workflows() if each.pause is not None]
    if "json" in arguments:
        print_json(
            {
                "workers": [asdict(worker) for worker in workers],
                "paused": [asdict(pause) for pause in pauses],
            }
        )
    elif workers:
        print_data("\n".join(worker_table(workers, layout(arguments))))
        if "stacks" in arguments:
            print_data("".join(stack for worker in workers for stack in _stacks(worker)).rstrip())
    else:
        print_message(f"no worker is connected ({searched(arguments)})")
    for pause in () if "json" in arguments else pauses:
        print_message(f"paused: {plain(f'{pause.workflow_name} {describe(pause)}', None)}")
    return ExitCode.CLEAN


def _stacks(worker: WorkerStatus) -> Iterator[str]:
    """Yield the stacks of each process, after a line that says whose they are."""
    for process in worker.processes:
        text = process.stacks
        if text is None:
            text = "  not known: the worker did not answer, or the process has just started"
        who = f"{plain(worker.host, None)}: child {process.number} (pid {process.pid})"
        runs = "".join(
            f"run {plain(run.run_id, None)} {plain(title(run.workflow_name, run.version), None)}"
            f": {plain(run.steps or 'between steps', None)}\n"
            for run in process.runs
        )
        lines = "\n".join(map(printable, text.splitlines()))
        yield f"\n{who}:\n{runs}{lines}\n"


COMMAND = Command("List workers and their processes on all hosts", _add_options, _run)
