"""The end of a child process: user code's exit handlers run, but they cannot hold up the worker.

The interpreter ends by waiting for threads, and by calling the handlers of ``atexit``, the latest
first. Telemetry flushes its last batch in such a handler, and pools end their processes. The
handlers that were registered before the fork belong to the template, which calls them when it
ends. So the process leaves in a handler of its own, which is registered right after the fork.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import Final, NoReturn

_log = logging.getLogger("owsuper.child")

# Seconds. Telemetry libraries give their last batch two seconds (Sentry) or more.
_EXIT_TIMEOUT: Final = 5.0
_THREADS_TIMEOUT: Final = 1.0  # for threads to end, before the handlers are called regardless

_code: int | None = None  # None until ``leave``
_handlers_began = threading.Event()


def begin() -> None:
    """Call only handlers that are registered from here on. For a process that was just forked."""
    atexit.register(_leave_now)
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not sys.modules["multiprocessing"].active_children():
        # It registered itself at its import, for the processes that importing started; there are
        # none. It ends the pools that steps leave behind.
        atexit.register(util._exit_function)


def leave(code: int) -> NoReturn:
    """End this process: after its threads, and its exit handlers, and at most five seconds."""
    global _code
    _code = code
    try:
        for target in (_call_handlers_beside_threads, _end_in_time):
            threading.Thread(target=target, name="owsuper-exit", daemon=True).start()
    except RuntimeError:  # no thread can be started: nothing would bound the handlers
        _leave_now()
    atexit.register(_handlers_began.set)  # the last one registered is the first one called
    sys.exit(code)


def leave_beside_main(code: int) -> None:
    """End this process as ``leave`` does, from a thread, while user code holds the main thread."""
    global _code
    _code = code
    with suppress(RuntimeError):  # no thread can be started: nothing would bound the handlers
        threading.Thread(target=_end_in_time, name="owsuper-exit", daemon=True).start()
        atexit._run_exitfuncs()
    _leave_now()


def leave_copy(exc: BaseException | None) -> NoReturn:
    """End a copy of the process that user code made with os.fork(), and that raised ``exc``."""
    code: object = 0
    if isinstance(exc, SystemExit):
        code = exc.code or 0
    elif exc is not None:
        traceback.print_exception(exc)
        code = 1
    _flush_streams()
    os._exit(code if isinstance(code, int) else 1)


def _call_handlers_beside_threads() -> None:
    """Call the handlers if the interpreter still waits for threads, which may never end."""
    if not _handlers_began.wait(_THREADS_TIMEOUT):
        atexit._run_exitfuncs()


def _end_in_time() -> None:
    time.sleep(_EXIT_TIMEOUT)
    _log.warning(
        "exit handlers of the application took longer than %g s; exiting without them",
        _EXIT_TIMEOUT,
    )
    _leave_now()


def _leave_now() -> None:
    """Leave without finalizing the interpreter: threads may still run user code.

    An end that is none of ``leave`` (an error before the process serves) is the interpreter's.
    """
    if _code is None:
        return
    logging.shutdown()
    _flush_streams()
    os._exit(_code)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # it may be None
            stream.flush()
