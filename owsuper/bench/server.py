"""The database server that is measured: the one that is configured, or an embedded one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from owsuper import embedded
from owsuper.db import connect

NAME = "bench"

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Server:
    """``where`` says which server it is, and for our own one on what file system it keeps data."""

    url: str
    where: str

    def connect(self) -> Connection:
        """Autocommit, ``$1`` placeholders, a session as the server's own settings make it.

        Raises DatabaseUnreachable.
        """
        try:
            return psycopg.connect(
                connect.conninfo(self.url, application_name=NAME),
                autocommit=True,
                cursor_factory=psycopg.RawCursor,
            )
        except psycopg.OperationalError as error:
            raise connect.explain_failure(error, self.url) from error


@contextmanager
def server(url: str | None) -> Iterator[Server]:
    """The server of ``url``, or else an embedded one that is gone afterwards.

    Raises EmbeddedUnavailable.
    """
    if url is not None:
        yield Server(url, "the one that is configured")
        return
    directory = Path(tempfile.mkdtemp(prefix="owsuper-bench-")).resolve()
    try:
        directory.chmod(0o711)  # where root asks for a server, it runs as somebody else
        options = {"fsync": "on", "synchronous_commit": "on"}
        with embedded.acquire(directory, options=options, temporary=True) as lease:
            yield Server(lease.url, f"embedded, in {directory.parent} ({_file_system(directory)})")
    finally:
        # Its keeper removes the directory when the server has stopped, if it ever started.
        if not (directory / "keeper").exists():
            shutil.rmtree(directory, ignore_errors=True)


def _file_system(path: Path) -> str:
    """The type of file system that holds ``path``: on tmpfs, a commit costs no disk."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown file system"
    above = [(where, kind) for where, kind in mounts if path.is_relative_to(where)]
    return max(above, key=lambda mount: len(mount[0]), default=("", "unknown file system"))[1]
