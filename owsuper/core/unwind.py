"""What leaves user code when a run must stop here: parked, fenced off, or given back."""

from __future__ import annotations

from typing import Final

_KEY: Final = object()


class Unwind(BaseException):
    """Unwinds user code. Not an Exception, so ``except Exception`` lets it through.

    The engine never decides by what comes out of user code: it decides by its own record, so
    a bare ``except:`` that swallows this changes nothing. Only the engine can make one.
    """

    def __init__(self, key: object = None) -> None:
        if key is not _KEY:
            raise TypeError("Unwind belongs to the engine; user code cannot construct it.")
        super().__init__("the run leaves this process here; let this exception pass")


def unwind() -> Unwind:
    """A fresh Unwind, for the engine to raise."""
    return Unwind(_KEY)
