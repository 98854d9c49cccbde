"""Names of the notification channels.

The triggers that ring them (``sql/migrations/owsuper``) compute the same names from the same
parts; a channel name holds 63 bytes, a schema with a namespace may be longer, hence the hash.
"""

from __future__ import annotations

from typing import Final

try:  # hashlib would load OpenSSL, four megabytes, for these few bytes
    from _md5 import md5  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # an interpreter that has only OpenSSL's
    from hashlib import md5

_HASH_LENGTH = 24


CANCELED: Final = "canceled:"
"""Begins the payload, before a run's id, that tells of a run canceled while a worker owned it."""


def runs_channel(schema: str, namespace: str) -> str:
    """Rings, without payload, when a run of this namespace becomes due or gets a due time.

    Its payload is ``CANCELED`` and the id of a run, when one that a worker owns is canceled.
    """
    return f"owsuper:{_short_hash(f'{schema}/{namespace}')}"


def results_channel(schema: str) -> str:
    """Carries the id of a run that ended while somebody held its waiter's lock."""
    return f"owsuper-results:{_short_hash(schema)}"


def _short_hash(text: str) -> str:
    # md5 because Postgres has it built in; nothing here is a secret.
    return str(md5(text.encode(), usedforsecurity=False).hexdigest())[:_HASH_LENGTH]
