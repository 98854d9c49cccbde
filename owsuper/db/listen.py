"""Names of the notification channels.

The triggers that notify (``sql/migrations/owsuper``) compute the same names. A channel name holds
63 bytes; a schema and a namespace may be longer, so the name has their hash.
"""

from __future__ import annotations

from hashlib import md5
from typing import Final

_HASH_LENGTH: Final = 24

CANCELED: Final = "canceled:"
"""The prefix of a payload with the id of a run that was canceled while a worker owned it."""

STACKS: Final = "stacks:"
"""The prefix of a payload with which a client asks all supervisors for the stacks of children."""

LIMITS: Final = "limits"
"""The payload that says that limits of workflows have changed."""

EARLY: Final = "early:"
"""The prefix of a payload that says that some run was stored with a due time in the past."""

UNDO: Final = "undo:"
"""The payload that says that a run of a workflow is undone whose runs never were."""

DRAIN: Final = "drain:"
"""The prefix of a payload with the id of the supervisor that a client asks to drain."""

SCHEDULES: Final = "schedules"
"""The payload with which a client tells all supervisors that it has changed a schedule."""

PAUSES: Final = "pauses:"
"""The payload that says that a workflow was paused or resumed."""


def runs_channel(schema: str, namespace: str) -> str:
    """Return the channel that notifies when a run of this namespace becomes due or gets a due time.

    The payload is the id of the transaction, after ``EARLY`` if so. Only some of the supervisors
    listen (``supervisor.on_call``). For those of earlier releases, cancellations come here, too.
    """
    return f"owsuper:{_short_hash(f'{schema}/{namespace}')}"


def workers_channel(schema: str, namespace: str) -> str:
    """Return the channel on which all supervisors of this namespace listen.

    The payload is ``CANCELED`` and the id of a canceled run that a worker owns; ``STACKS`` and a
    token, with which the stacks are marked; ``UNDO``; ``DRAIN`` and the id of a supervisor;
    ``SCHEDULES``; ``LIMITS``; ``PAUSES``; or what a supervisor passes on, because it has no room
    for all runs that are due.
    """
    return f"owsuper-workers:{_short_hash(f'{schema}/{namespace}')}"


def results_channel(schema: str) -> str:
    """Return the channel for ids of runs that ended while a client held the lock of a waiter."""
    return f"owsuper-results:{_short_hash(schema)}"


def _short_hash(text: str) -> str:
    # md5, because PostgreSQL has it built in. A channel name is no secret.
    return md5(text.encode(), usedforsecurity=False).hexdigest()[:_HASH_LENGTH]
