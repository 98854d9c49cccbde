"""Importing the application in the template, so that children share its memory.

If that starts threads or opens sockets, the template restarts without the application, and every
child imports it for itself (as with ``--no-preload``).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from setproctitle import setproctitle

from owsuper.child import loader, served, unforkable
from owsuper.child.control_socket import ControlSocket
from owsuper.child.import_watch import ImportWatch
from owsuper.child.loader import Application, LoadError
from owsuper.child.parent_death import ends_with_parent
from owsuper.ipc.messages import LoadFailed
from owsuper.settings import Settings
from owsuper.step import log_records

_SIGNALS_CHANGED: Final = (
    "Importing the application changed the handler of SIGCHLD, SIGINT or SIGHUP, blocked SIGCHLD,"
    " or changed the wake-up descriptor of signals. The template needs them and has set them again."
    " Leave them alone, or change them in a program of their own."
)


def load(
    settings: Settings, control: ControlSocket, catch_signals: Callable[[], bool]
) -> Application | None:
    """Import the application and answer the supervisor; return None if that has failed.

    If the application cannot be forked, this process replaces itself and does not return.
    ``catch_signals`` handles the signals of the template again, and returns whether it had to.
    """
    set_title(settings)
    import_child_modules()
    log_records.install(show_replayed=settings.log_replay)
    before = unforkable.open_sockets()
    try:
        with ImportWatch(" ".join(settings.modules)) as watch, ends_with_parent():
            if not control.peer_is_open():
                return None  # the supervisor had ended before
            loaded = loader.load(settings.modules)
            served.check(loaded, settings)
    except LoadError as exc:
        control.send(LoadFailed(exc.kind, exc.message, exc.traceback))
        return None
    warnings = [_SIGNALS_CHANGED] if catch_signals() else []
    if unforkable.is_blind():
        warnings.append(unforkable.BLIND)
    if found := unforkable.find(before, watch.started_by):
        warnings.append(unforkable.warning(found))
        control.send(served.describe(loaded, settings, warnings=warnings))
        _restart_without_application(control)
    gc.collect()
    gc.freeze()  # a collection in a child must not copy the shared pages
    control.send(served.describe(loaded, settings, warnings=warnings))
    return loaded


def _restart_without_application(control: ControlSocket) -> NoReturn:
    """Replace this process by exec. Threads and sockets end; the control socket stays open.

    No message is lost: the supervisor requests forks only after ``ApplicationLoaded``, and
    later messages stay buffered in the socket.
    """
    os.set_inheritable(control.fileno(), True)
    os.execv(sys.executable, sys.orig_argv)


def set_title(settings: Settings) -> None:
    """Set the title of the template."""
    suffix = "" if settings.preload else " (not preloaded)"
    setproctitle(f"owsuper: template {' '.join(settings.modules)}{suffix}")


def import_child_modules() -> None:
    """Import what every child needs before the fork, so that children share its memory."""
    import owsuper.child.main  # noqa: F401 -- only to have it in memory


def read_statements(settings: Settings) -> None:
    """Read the SQL of children, once for all of them: so it is that of the code that is loaded.

    The files may be those of another version by the time at which a later child is forked.
    """
    from owsuper.db.known_connections import KnownConnections  # imported with the child's modules
    from owsuper.db.related import RelatedStore
    from owsuper.db.reports import ReportStore
    from owsuper.db.runs import RunStore

    RunStore(settings.schema, settings.namespace)
    RelatedStore(settings.schema, settings.namespace)
    ReportStore(settings.schema, settings.namespace)
    KnownConnections(settings.schema)
