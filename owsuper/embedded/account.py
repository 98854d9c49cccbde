"""The user that runs a server for root, and the change of a process to that user.

Part of the keeper's script: imports only the standard library.
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
    """The server cannot start; the message says why."""


class Account(NamedTuple):
    """The user that runs the server in place of root."""

    name: str
    uid: int
    gid: int


def server_account(directory: Path) -> Account | None:
    """Return the user that runs root's server: the owner of the directory, or else ``nobody``.

    None if this process is not root. Raises CannotStart when there is no such user.
    """
    if os.geteuid() != 0:
        return None
    owner = directory.stat().st_uid
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    except KeyError:
        raise CannotStart(
            "PostgreSQL does not run as root, and there is no other user to run it: the system has "
            f"no user 'nobody', or no name for the owner of {directory} (uid {owner})"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def reaching_account_switch(
    account: Account, directory: Path, binaries: Path
) -> Callable[[], None]:
    """Return an ``account_switch`` after which a process can reach both paths.

    Where ``account`` may search the directories on both paths, it needs no capability. Elsewhere
    (below /root, for example) the server keeps the one capability of root that lets it search
    directories; no file's permissions change. Raises CannotStart when neither is enough.
    """
    script = 'cd "$1" && exec "$2" --version'
    arguments = [str(directory), str(binaries / "postgres")]
    for capability in (None, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        switch = account_switch(account, capability)
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                ["/bin/sh", "-c", script, "sh", *arguments],
                preexec_fn=switch,
                check=True,
                capture_output=True,
            )
            return switch
    raise CannotStart(
        f"PostgreSQL does not run as root, and the user {account.name!r} cannot reach both "
        f"{directory} and {binaries}, or this process may not become that user. Work in a "
        "directory that other users may enter, or not as root."
    )


def account_switch(account: Account, capability: int | None) -> Callable[[], None]:
    """Return a ``preexec_fn`` that gives up root for ``account``, except for ``capability``."""
    libc = ctypes.CDLL(None, use_errno=True) if capability is not None else None

    def switch() -> None:
        if libc is not None:
            # PostgreSQL checks its own binaries by access(2), which ignores capabilities unless
            # the kernel is told not to tie them to the user.
            _check(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
        if libc is not None and capability is not None:
            header, mask = struct.pack("Ii", CAPABILITY_VERSION_3, 0), 1 << capability
            _check(libc.capset(header, struct.pack("6I", mask, mask, mask, 0, 0, 0)))
            _check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))

    return switch


def interrupted_with_parent(parent: int, switch: Callable[[], None] | None) -> Callable[[], None]:
    """Return a ``preexec_fn`` that calls ``switch`` and then ties the process to its parent.

    On Linux, the process gets SIGINT when ``parent`` (a process id) dies.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if switch is not None:
            switch()  # first: a change of user clears the signal
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
