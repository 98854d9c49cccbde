"""Standard error, with a copy of what this process writes to it.

The copy is made where Python writes: by ``sys.stderr``, and by the log of a worker. A pipe in the
place of descriptor 2 would also get what C code writes, but somebody would have to read the pipe
for as long as the process lives; see docs/architecture.md.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_receive: Callable[[bytes], object] | None = None


def copy_to(receive: Callable[[bytes], object] | None) -> None:
    """From now on, pass ``receive`` what is written; None ends that."""
    global _receive
    _receive = receive


def note(data: bytes) -> None:
    """Copy ``data``, which goes to standard error past ``sys.stderr``."""
    if _receive is not None:
        _receive(data)


def install() -> None:
    """Replace ``sys.stderr`` by a stream that is equal, and copies. Without one, do nothing.

    Call this before code that may keep ``sys.stderr``, as handlers of logging do.
    """
    old = sys.stderr
    if not isinstance(old, io.TextIOWrapper):
        return
    raw = _Descriptor(old.fileno(), "wb", closefd=False)
    raw.name = "<stderr>"
    stream = io.TextIOWrapper(
        raw if old.write_through else io.BufferedWriter(raw),
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
    # The interpreter sets these two in the same way.
    setattr(stream, "mode", "w")  # noqa: B010 - a constant for type checkers
    setattr(sys, "__stderr__", stream)  # noqa: B010 - likewise
    sys.stderr = stream


class _Descriptor(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        written = super().write(data)
        if _receive is not None and written:
            _receive(bytes(memoryview(data)[:written]))
        return written
