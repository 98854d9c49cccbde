"""Run the audit: start a worker and the runs, kill a process, and print the report."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from examples.library_audit import audit, crash, report, stored
from examples.library_audit.crash import Crash
from examples.library_audit.dashboard import dashboard, wait_for_reader
from examples.library_audit.journal import VARIABLE, Journal
from examples.library_audit.progress import Progress
from examples.library_audit.report import Audit
from examples.library_audit.workflows import Summary, audit_module, ow
from owsuper import OwsuperError, ResultTimeout, RunHandle
from owsuper.errors import RunNotCancelable


def main() -> int:
    try:
        return _audit(_options())
    except KeyboardInterrupt:  # the second interrupt, or one before the runs began
        return 130


def _audit(options: argparse.Namespace) -> int:
    paths = [str(path) for path in audit.sources(audit.library())][: options.modules]
    with tempfile.TemporaryDirectory(prefix="library-audit-") as directory:
        path = Path(directory, "journal")
        os.environ[VARIABLE] = str(path)
        # A new namespace, because an interrupted audit may have left runs behind.
        os.environ["OWSUPER_NAMESPACE"] = f"library-audit-{uuid4()}"
        journal = Journal(path)
        try:
            with ExitStack() as stack:
                address = stack.enter_context(dashboard()) if options.dashboard else None
                if address:
                    print(f"The dashboard is at {address}", file=sys.stderr)
                code = _run_audit(paths, options.processes, journal)
                if address and not code:
                    wait_for_reader(address)
                return code
        except OwsuperError as error:
            print(f"library audit: error: {error}", file=sys.stderr)
            return 1
        finally:
            journal.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.library_audit",
        description="Audit the Python standard library, durably, and kill a process meanwhile.",
    )
    parser.add_argument("--processes", type=int, default=2, help="child processes (default: 2)")
    parser.add_argument("--modules", type=int, help="audit only this many modules")
    parser.add_argument(
        "--dashboard", action="store_true", help="show the runs in the browser, and wait for Enter"
    )
    options = parser.parse_args()
    if options.modules is not None and options.modules < 1:
        parser.error("--modules must be at least 1")
    return options


def _run_audit(paths: Sequence[str], processes: int, journal: Journal) -> int:
    progress = Progress(len(paths))
    progress.write_line(
        f"Auditing {len(paths):,} modules in {audit.library()}, {processes} processes"
    )
    worker = ow.new_worker(processes=processes, log_level="warning")
    handles: list[RunHandle[Summary]] = []
    try:
        worker.start()
        began = time.monotonic()
        handles = audit_module.run_many(paths)
        summaries, killed = _collect(handles, journal, progress)
        seconds = time.monotonic() - began
    except KeyboardInterrupt:
        progress.write_line(
            "Interrupted: canceling runs that have not begun, finishing the others."
        )
        canceled = sum(_cancel(handle) for handle in handles)
        progress.write_line(
            f"{len(handles) - canceled:,} modules were audited, {canceled:,} canceled."
        )
        return 130
    finally:
        worker.stop()
    audited = Audit(summaries, journal.read(), stored.completed_steps(), seconds, killed)
    print("", *report.lines(audited), sep="\n")
    return 0


def _collect(
    handles: Sequence[RunHandle[Summary]], journal: Journal, progress: Progress
) -> tuple[list[Summary], Crash | None]:
    """Wait for all results. After half of them, kill a busy process."""
    summaries = []
    killed = None
    for handle in handles:
        while True:
            progress.show(journal.read())
            if killed is None and progress.done >= len(handles) / 2:
                killed = _kill_process(journal, progress)
            try:
                summaries.append(handle.result(timeout=0.05))
                break
            except ResultTimeout:
                continue
    progress.show(journal.read(), last=True)
    return summaries, killed


def _kill_process(journal: Journal, progress: Progress) -> Crash | None:
    killed = crash.kill_busy_process(journal)
    if killed is not None:
        progress.killed(killed.interrupted)
    return killed


def _cancel(handle: RunHandle[Summary]) -> bool:
    try:
        handle.cancel()
    except RunNotCancelable:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
