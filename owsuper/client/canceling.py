"""Ending runs as canceled, and what they have started."""

from __future__ import annotations

from contextlib import suppress

from owsuper.client.session import Session
from owsuper.errors import RunNotCancelable


def cancel(session: Session, run_id: str, *, children: bool) -> None:
    """Cancel a run and, with ``children``, its children that have not ended, and theirs.

    The run itself comes first: once it is canceled it can start no more of them.
    """
    session.run(session.queries.cancel(run_id).run)
    parents = [run_id] if children else []
    while parents:
        parents = session.run(session.queries.open_children(parents).run)
        for child in parents:
            with suppress(RunNotCancelable):  # it ended meanwhile
                session.run(session.queries.cancel(child).run)


async def acancel(session: Session, run_id: str, *, children: bool) -> None:
    """Awaitable ``cancel``."""
    await session.arun(session.queries.cancel(run_id).arun)
    parents = [run_id] if children else []
    while parents:
        parents = await session.arun(session.queries.open_children(parents).arun)
        for child in parents:
            with suppress(RunNotCancelable):
                await session.arun(session.queries.cancel(child).arun)
