"""``owsuper why``: say why a run is not running."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from owsuper import OpenWorkflow, Reason, ReasonKind
from owsuper.cli.arguments import Command
from owsuper.cli.client_command import add_common, add_id, client, find
from owsuper.cli.formatting import now, plain, relative, wrapped
from owsuper.cli.output import print_data, print_json, terminal_width
from owsuper.errors import RunNotFound
from owsuper.supervisor.exit_status import ExitCode

_MAX_FOLLOWED: Final = 20  # child runs, of which each costs some statements
_MAX_REASONS: Final = 20  # of one run


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_id(parser)
    add_common(parser)


def _run(arguments: argparse.Namespace) -> int:
    with client(arguments) as ow:
        handle = find(ow, arguments.id)
        run, reasons = handle.details(), handle.why()
        if "json" in arguments:
            documents = [asdict(reason) for reason in reasons]
            print_json({"id": run.id, "status": run.status, "reasons": documents})
            return ExitCode.CLEAN
        version = "" if run.version is None else f", version {run.version}"
        lines = [f"run {plain(run.id)} of {plain(run.workflow_name + version, None)}:"]
        lines += _Lines(ow, now()).about(reasons)
    width = terminal_width()
    print_data("\n".join(part for line in lines for part in wrapped(line, width)))
    return ExitCode.CLEAN


class _Lines:
    """The lines about a run, and about the child runs that it waits for."""

    def __init__(self, ow: OpenWorkflow, at: datetime) -> None:
        self._ow = ow
        self._at = at
        self._followed = 0

    def about(self, reasons: Sequence[Reason], indent: str = "  ") -> Iterator[str]:
        """Yield a line for each reason, and below it those of the child run that it is about."""
        for reason in reasons[:_MAX_REASONS]:
            yield f"{indent}{plain(reason.message, None)}{_when(reason, self._at)}"
            if reason.child_run_id and self._followed < _MAX_FOLLOWED:
                self._followed += 1
                yield f"{indent}  about that run:"
                yield from self.about(self._reasons(reason.child_run_id), f"{indent}    ")
        if len(reasons) > _MAX_REASONS:
            yield f"{indent}... and {len(reasons) - _MAX_REASONS} more"

    def _reasons(self, run_id: str) -> Sequence[Reason]:
        try:
            return self._ow.get_run(run_id).why()
        except RunNotFound:  # somebody has deleted it, and its parent waits
            return [Reason(kind=ReasonKind.ENDED, message="it does not exist any more")]


def _when(reason: Reason, at: datetime) -> str:
    """Return the time that the reason leaves, or else has taken so far."""
    when: Any = reason.until or reason.since
    return "" if when is None else f" ({relative(when, at)})"


COMMAND = Command("Say why a run is not running", _add_options, _run)
