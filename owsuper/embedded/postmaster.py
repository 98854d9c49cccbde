"""What the server's own lock file says: which process it is, and whether it is ready.

Part of the keeper's script: imports nothing but the standard library and its neighbour.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.embedded.account import CannotStart
else:
    from account import CannotStart

STOP_SECONDS = 30


def read(data: Path) -> tuple[int, str]:
    """Process id and status from the server's own lock file; (0, "") without one."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return 0, ""
    if len(lines) < 8 or not lines[0].isdigit():
        return 0, ""
    return int(lines[0]), lines[7].strip()


def is_ready(data: Path, pid: int) -> bool:
    return read(data) == (pid, "ready")


def forget_foreign_pid(data: Path) -> None:
    """Remove a lock file whose process id now belongs to something else.

    PostgreSQL would refuse to start: that happens after a reboot, and in containers, where
    process ids are small. What is left of a real predecessor is awaited instead.
    """
    give_up = time.monotonic() + STOP_SECONDS
    while (pid := read(data)[0]) and Path("/proc/self").exists():
        try:
            ours = Path(f"/proc/{pid}/cwd").resolve(strict=True) == data
        except OSError:
            return  # dead, which PostgreSQL finds out for itself, or not to be known
        if not ours:
            (data / "postmaster.pid").unlink()
        elif time.monotonic() > give_up:
            raise CannotStart(f"a PostgreSQL server without a keeper uses {data} (pid {pid})")
        time.sleep(0.02)
