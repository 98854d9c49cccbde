"""What sending a signal takes: its data as JSON, and the statements."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from owsuper.client.session import Session
from owsuper.core import codec
from owsuper.core.names import check_signal
from owsuper.errors import DatabaseError

_log = logging.getLogger("owsuper.client")


def encode(signal: str, data: Any) -> bytes | None:
    """Return the data of a signal as JSON. Raises ConfigurationError and NotSerializable."""
    return codec.encode(data, path="data", owner=f"signal {check_signal(signal)!r}")


def send(
    session: Session,
    signal: str,
    data: bytes | None,
    sender_key: str | None,
    *,
    keep: bool,
    give_up_at: float | None = None,
) -> list[str]:
    """Send a signal; return the ids of the runs that it reached. Raises as ``Session.run`` does."""
    limit = session.give_up_at() if give_up_at is None else give_up_at
    queries = session.queries
    operation = queries.send_signal(signal, data, sender_key, keep=keep)
    reached = session.run(operation.run, again=sender_key is not None, give_up_at=limit)
    if any(may_park for _, may_park, _ in reached):
        wake = partial(queries.signals.wake_unaware, signal=signal, reached=reached)
        try:
            session.run(wake, give_up_at=limit)
        except DatabaseError as exc:  # the signal is sent: an error would say that it is not
            _log.warning("signal %r was sent, and perhaps did not wake its runs: %s", signal, exc)
    return [run_id for run_id, *_ in reached]


async def asend(
    session: Session, signal: str, data: bytes | None, sender_key: str | None, *, keep: bool
) -> list[str]:
    """Awaitable ``send``."""
    limit = session.give_up_at()  # counts the wait for a thread, too
    sending = partial(send, session, signal, data, sender_key, keep=keep, give_up_at=limit)
    return await session.acall(sending)
