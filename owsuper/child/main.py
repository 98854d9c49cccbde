"""A child process from its fork to its exit."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
from typing import NoReturn

from owsuper import signal_handlers
from owsuper.child import process_exit, stacks
from owsuper.child.database import Unavailable
from owsuper.child.loader import LoadError
from owsuper.child.server import ChildServer
from owsuper.child.shortage import NoThread
from owsuper.child.spec import CANNOT_START, ChildSpec
from owsuper.ipc.messages import SHORTAGE, LoadFailed, encode
from owsuper.shortage import THREADS, explain

_log = logging.getLogger("owsuper.child")


def serve(spec: ChildSpec) -> NoReturn:
    """Serve runs until the child is told to stop or the supervisor exits; then exit.

    For a process that was just forked. Exits with code 3, after a LoadFailed message, if a function
    of ``on_child_start`` raises, or if the threads, descriptors or memory that every run needs
    cannot be had.
    """
    faulthandler.enable(2)  # the application may have set sys.stderr to None
    stacks.dump_at_signal()
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # and not the application's
        signal_handlers.install(signal.SIGUSR1, signal_handlers.do_nothing)
    try:
        exit_code = _serve(spec)
    except BaseException:
        _log.exception("child %d failed", spec.index)
        logging.shutdown()
        os._exit(1)
    # Threads may still run user code. Their runs have ended or were released.
    process_exit.leave(exit_code)


def _serve(spec: ChildSpec) -> int:
    """Serve, and return the exit code."""
    try:
        server = ChildServer(spec)
        server.keep_evidence()
        server.call_start_hooks()
        server.catch_signals()
        server.start()
        if spec.connect:
            server.connect()
    except LoadError as exc:
        spec.sock.sendall(encode(LoadFailed(exc.kind, exc.message, exc.traceback)))
        return CANNOT_START
    except Unavailable as exc:
        message = f"The database cannot be reached: {' '.join(str(exc).split())}"
        spec.sock.sendall(encode(LoadFailed("database", message)))
        return CANNOT_START
    except Exception as exc:
        missing = THREADS if isinstance(exc, NoThread) else explain(exc)
        if missing is None:
            raise
        spec.sock.sendall(encode(LoadFailed(SHORTAGE, f"child {spec.index}: {missing}")))
        return CANNOT_START
    server.serve()
    server.call_stop_hooks(0)
    return 0
