"""Copies of deleted runs as files of JSON Lines, one for each day, in UTC.

The lines are on the disk before their runs are deleted. So a crash may write a run twice, and loses
none. A line that a crash has cut off is of a run that was not deleted; the next writer removes it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from owsuper.errors import ConfigurationError

_BLOCK: Final = 65536


class Archive:
    """Files in one directory, which is made if necessary. Several processes may share it.

    Raises ConfigurationError if the directory cannot be made or written.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory).absolute()
        try:
            new = [each for each in (self.directory, *self.directory.parents) if not each.exists()]
            self.directory.mkdir(parents=True, exist_ok=True)
            for each in new:
                _flush(each.parent)
        except OSError as error:
            raise ConfigurationError(f"archive: {self.directory} cannot be made: {error}") from None
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"archive: {self.directory} cannot be written. Check its owner."
            )

    def write(self, lines: Sequence[str]) -> None:
        """Add lines to the file of today. Return when they are on the disk. Raises OSError."""
        path = self.directory / f"runs-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        text = "".join(f"{line}\n" for line in lines).encode()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            end = _end_of_lines(descriptor)
            os.ftruncate(descriptor, end)
            view = memoryview(text)
            while view:
                written = os.pwrite(descriptor, view, end)
                view, end = view[written:], end + written
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _flush(self.directory)  # the file may be new


def _flush(directory: Path) -> None:
    """Return when the names in a directory are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end_of_lines(descriptor: int) -> int:
    """Return the length of a file without a last line that has no end."""
    end = os.fstat(descriptor).st_size
    while end:
        begin = max(0, end - _BLOCK)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
