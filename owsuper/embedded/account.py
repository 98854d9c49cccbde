"""Whom a server runs as when root asks for one, and how it is let through to its files.

Part of the keeper's script: imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 4
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


class CannotStart(Exception):
    """Why there is no server, for whoever asked for one."""


class Account(NamedTuple):
    """Whom the server runs as, in place of root."""

    name: str
    uid: int
    gid: int


def server_account(directory: Path) -> Account | None:
    """Whom root lets the server run as: the owner of the directory, or else ``nobody``."""
    if os.geteuid() != 0:
        return None
    owner = directory.stat().st_uid
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    except KeyError:
        raise CannotStart(
            "PostgreSQL does not run as root, and there is no other user to run it as: no "
            f"'nobody', or no name for the owner of {directory} (uid {owner})"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def way_in(account: Account, directory: Path, binaries: Path) -> Callable[[], None]:
    """How to become ``account`` and still reach the binaries and the directory.

    Where others may traverse the path to both, nothing more is needed. Where they may not
    (below /root, say) no file's permissions are changed: the server keeps the one
    capability of root that lets it search directories.
    """
    script = 'cd "$1" && exec "$2" --version'
    arguments = [str(directory), str(binaries / "postgres")]
    for capability in (None, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        become = becoming(account, capability)
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                ["/bin/sh", "-c", script, "sh", *arguments],
                preexec_fn=become,
                check=True,
                capture_output=True,
            )
            return become
    raise CannotStart(
        f"PostgreSQL does not run as root, and the user {account.name!r} cannot reach both "
        f"{directory} and {binaries}, or this process may not become that user; work in a "
        "directory that others may enter, or not as root"
    )


def becoming(account: Account, capability: int | None) -> Callable[[], None]:
    """What a child calls before exec to drop root for ``account``, all but ``capability``."""
    libc = ctypes.CDLL(None, use_errno=True) if capability is not None else None

    def become() -> None:
        if libc is not None:
            # access(2), by which PostgreSQL looks at its own binaries, ignores capabilities
            # unless the kernel is told not to tie them to the user.
            must(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
        if libc is not None and capability is not None:
            header, mask = struct.pack("Ii", CAPABILITY_VERSION_3, 0), 1 << capability
            must(libc.capset(header, struct.pack("6I", mask, mask, mask, 0, 0, 0)))
            must(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))

    return become


def dying_with(parent: int, become: Callable[[], None] | None) -> Callable[[], None]:
    """``become``, and stop as by SIGINT when ``parent`` dies (Linux)."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if become is not None:
            become()  # first: a change of user forgets the signal
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def must(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
