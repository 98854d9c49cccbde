"""The limit of open file descriptors (``ulimit -n``), which must suffice for all children."""

from __future__ import annotations

import resource
from typing import Final

from owsuper.errors import ConfigurationError

_FOR_EACH_CHILD: Final = 3  # its pipe, the pipe's other end while the child starts, its recorder
_OTHERS: Final = 34  # about twenty, for connections, template and signals; and room for more


def reserve(processes: int) -> None:
    """Raise the limit of this process if it is too low for so many children.

    Processes that are started later inherit the limit. Raises ConfigurationError if this process
    may not raise the limit so far.
    """
    needed = _OTHERS + _FOR_EACH_CHILD * processes
    wanted = needed + _FOR_EACH_CHILD * (processes + 1)  # for twice as many, during a reload
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigurationError(
            f"--processes {processes} needs {needed} open file descriptors, and this process may"
            f" have {hard}: raise the limit (ulimit -n, or LimitNOFILE= of a systemd service), or"
            " set fewer processes"
        )
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, soft), hard))
