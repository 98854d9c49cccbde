"""The server's own lock file: its process id, and whether the server is ready.

Part of the keeper's script: imports only the standard library and ``account``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.embedded.account import CannotStart
else:
    from account import CannotStart

STOP_SECONDS = 30  # a fast shutdown takes about a second; the rest is for a checkpoint


def read_lock_file(data: Path) -> tuple[int, str]:
    """Return process id and status from ``postmaster.pid``, or (0, "") without a valid file."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return 0, ""
    if len(lines) < 8 or not lines[0].isdigit():
        return 0, ""
    return int(lines[0]), lines[7].strip()


def is_ready(data: Path, pid: int) -> bool:
    """Whether the server with this process id accepts connections."""
    return read_lock_file(data) == (pid, "ready")


def remove_stale_lock_file(data: Path) -> None:
    """Remove a lock file whose process id now belongs to another program.

    PostgreSQL would refuse to start. Process ids are reused after a reboot, and soon in a
    container. If the process is a previous server that is still stopping, wait for its end.
    Raises CannotStart after STOP_SECONDS.
    """
    give_up = time.monotonic() + STOP_SECONDS
    while (pid := read_lock_file(data)[0]) and Path("/proc/self").exists():
        try:
            ours = Path(f"/proc/{pid}/cwd").resolve(strict=True) == data
        except OSError:
            return  # a dead process, which PostgreSQL detects, or one of another user
        if not ours:
            (data / "postmaster.pid").unlink()
        elif time.monotonic() > give_up:
            raise CannotStart(f"a PostgreSQL server without a keeper uses {data} (pid {pid})")
        time.sleep(0.02)
