"""What supervisors announce, made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from owsuper.db.claims import Call
from owsuper.db.presence import PresenceQueries


def announced(
    queries: PresenceQueries,
    host: str = "host",
    workflows: Sequence[tuple[str, str | None]] = (),
    *,
    pid: int = 1,
    pooled: bool = False,
    **status: Any,
) -> Call:
    """The announcement of a supervisor, by default one that serves with one of two slots free."""
    about = {"at": 1000.0, "state": "serving", "slots": 2, "free": 1, "prefetched": 0}
    document = {**about, "rss_kb": 40960, "suspects": [], "children": [], **status}
    return queries.announce(30, host, pid, pooled=pooled, workflows=workflows, status=document)


def child(number: int = 1, *runs: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A child process in an announcement, by default one that is ready since a minute."""
    ready = {"number": number, "pid": 100 + number, "state": "ready", "since": 940.0}
    held = {"reserved": False, "held": len(runs), "runs": list(runs), "rss_kb": 102400}
    return {**ready, **held, **fields}


def executing(run_id: str, workflow: str = "w", **fields: Any) -> dict[str, Any]:
    """A run in a child process, by default one that has been executed for ten seconds."""
    return {
        "id": run_id,
        "workflow": workflow,
        "version": None,
        "step": "s",
        "since": 990.0,
        **fields,
    }
