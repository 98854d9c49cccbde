"""Who does something by hand, and why, for others to read."""

from __future__ import annotations

import getpass
import socket
from typing import Final

from owsuper.core.names import has_lone_surrogate
from owsuper.errors import ConfigurationError

_LONGEST_TEXT: Final = 1000  # characters of a reason, or of who does it


def check_remarks(*, reason: str | None, by: str | None) -> None:
    """Raise ConfigurationError for what is not None and no text that can be stored."""
    for argument, value in (("reason", reason), ("by", by)):
        if value is not None and not _is_text(value):
            raise ConfigurationError(
                f"{argument}: must be text of at most {_LONGEST_TEXT:,} characters, without U+0000"
                f" and lone surrogates, not {value!r:.80}"
            )


def somebody() -> str:
    """Return user and host of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may know no name for its user
        user = "somebody"
    return f"{user}@{socket.gethostname()}"[:_LONGEST_TEXT]


def _is_text(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= _LONGEST_TEXT
        and "\0" not in value
        and not has_lone_surrogate(value)
    )
