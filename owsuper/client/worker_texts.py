"""Workers and workflows in messages for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from owsuper.client.workers import WorkerStatus

MAX_SHOWN: Final = 8
"""The most workers in a message, and the most workflows of each."""


def title(workflow_name: str, version: str | None) -> str:
    """Return a workflow's name and version."""
    return workflow_name if version is None else f"{workflow_name} (version {version})"


def place(worker_id: str) -> str:
    """Return host and pid of a worker's id."""
    return ":".join(worker_id.split(":")[:2])


def listed(texts: Sequence[str], separator: str = ", ") -> str:
    """Return the first texts, and how many more there are."""
    more = [f"{len(texts) - MAX_SHOWN} more"] if len(texts) > MAX_SHOWN else []
    return separator.join([*texts[:MAX_SHOWN], *more]) or "nothing"


def who_serves_what(workers: Sequence[WorkerStatus]) -> str:
    """Return which of these workers serves which workflows."""
    return listed(
        [
            f"{place(worker.id)} serves {listed([title(*each) for each in worker.workflows])}"
            for worker in workers
        ],
        "; ",
    )
