"""Names of the notification channels.

The triggers that notify (``sql/migrations/owsuper``) compute the same names. A channel name holds
63 bytes; a schema and a namespace may be longer, so the name has their hash.
"""

from __future__ import annotations

from typing import Final

try:  # hashlib would load OpenSSL, four megabytes, for these few bytes
    from _md5 import md5  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # an interpreter that has only OpenSSL's
    from hashlib import md5

_HASH_LENGTH = 24


CANCELED: Final = "canceled:"
"""The prefix of a payload with the id of a run that was canceled while a worker owned it."""


def runs_channel(schema: str, namespace: str) -> str:
    """Return the channel that notifies when a run of this namespace becomes due or gets a due time.

    The payload is empty, or ``CANCELED`` and the id of a canceled run that a worker owns.
    """
    return f"owsuper:{_short_hash(f'{schema}/{namespace}')}"


def results_channel(schema: str) -> str:
    """Return the channel for ids of runs that ended while a client held the lock of a waiter."""
    return f"owsuper-results:{_short_hash(schema)}"


def _short_hash(text: str) -> str:
    # md5 because Postgres has it built in; nothing here is a secret.
    return str(md5(text.encode(), usedforsecurity=False).hexdigest())[:_HASH_LENGTH]
