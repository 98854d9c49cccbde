"""The exception that unwinds user code when a run is parked, lost or released."""

from __future__ import annotations

from typing import Final

_KEY: Final = object()


class Unwind(BaseException):
    """Unwinds user code. It is no Exception, so ``except Exception`` does not catch it.

    The engine decides by its own record and not by what user code raises, so a bare ``except:``
    that swallows this exception changes nothing. Only the engine can construct one.
    """

    def __init__(self, key: object = None) -> None:
        if key is not _KEY:
            raise TypeError("Unwind belongs to the engine; user code cannot construct it.")
        super().__init__("the run stops in this process; let this exception pass")


def unwind() -> Unwind:
    """Return a new Unwind for the engine to raise."""
    return Unwind(_KEY)
