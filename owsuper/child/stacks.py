"""What this process is doing: the Python stacks of its threads and of its asyncio tasks.

They are read from outside, by a thread that needs nothing from the code which it looks at. Stacks
that are alike are shown once: most threads of a child wait for work.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import queue
import selectors
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import psycopg

from owsuper.signal_handlers import DUMP_SIGNAL

_STDERR: Final = 2  # the application may have set sys.stderr to None
_ENGINE: Final = (
    str(Path(__file__).resolve().parents[1]),
    threading.__file__,
    asyncio.__path__[0],
    selectors.__file__,
    queue.__file__,
    psycopg.__path__[0],  # and psycopg_pool beside it
)
_INNER: Final = ("cr_await", "gi_yieldfrom", "ag_await")  # of coroutines and generators
_FRAME: Final = ("cr_frame", "gi_frame", "ag_frame")
_RUNNING: Final = ("cr_running", "gi_running")  # ag_running is true while it waits, too
_MAX_TASKS: Final = 1000


def dump_at_signals() -> None:
    """From now on, write the stacks of all threads to standard error at DUMP_SIGNAL and SIGUSR1.

    faulthandler does so in C, even while another thread holds the GIL. A handler of SIGUSR1 that
    the application has set, or sets later, stays.
    """
    faulthandler.register(DUMP_SIGNAL, file=_STDERR)
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        faulthandler.register(signal.SIGUSR1, file=_STDERR)


def forget_signals() -> None:
    """Undo ``dump_at_signals``, in a process that user code has forked."""
    faulthandler.unregister(DUMP_SIGNAL)
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # as far as Python knows
        faulthandler.unregister(signal.SIGUSR1)


def describe(loops: Iterable[asyncio.AbstractEventLoop] = ()) -> str:
    """Return the stacks of all threads but this one, and of all tasks of their event loops.

    ``loops`` are event loops that do not show in the frames of their thread, as uvloop's do not.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = dict.fromkeys(loops)
    threads: list[tuple[str, Sequence[FrameType]]] = []
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            frames = list(_outwards(frame))[::-1]
            found |= dict.fromkeys(_loops_in(frames))
            threads.append((f"thread {names.get(ident, ident)}", frames))
    tasks = [
        (f"task {task.get_name()}", list(_inwards(task.get_coro())))
        for loop in found
        for task in list(asyncio.all_tasks(loop))[:_MAX_TASKS]
    ]
    return "\n".join([*_together(threads), *_together(tasks)])


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _inwards(awaited: Any) -> Iterator[FrameType]:
    """Yield the frames of a coroutine, then those of what it awaits."""
    while awaited is not None:
        frame = _first(awaited, _FRAME)
        if frame is not None:
            yield frame
        if _first(awaited, _RUNNING):
            return  # the rest is the stack of the thread
        inner = _first(awaited, _INNER)
        if inner is None and frame is None:
            # What __await__ or __anext__ returned: a wrapper that names its coroutine nowhere.
            referents = gc.get_referents(awaited)
            inner = next((each for each in referents if _first(each, _FRAME) is not None), None)
        awaited = inner


def _first(owner: Any, attributes: Iterable[str]) -> Any:
    return next((value for name in attributes if (value := getattr(owner, name, None))), None)


def _loops_in(frames: Iterable[FrameType]) -> Iterator[asyncio.AbstractEventLoop]:
    for frame in frames:
        if frame.f_code.co_name == "run_forever":
            loop = frame.f_locals.get("self")
            if isinstance(loop, asyncio.AbstractEventLoop):
                yield loop


def _together(stacks: Iterable[tuple[str, Sequence[FrameType]]]) -> Iterator[str]:
    """Yield one text for each different stack: those with user code first."""
    alike: dict[str, list[str]] = {}
    for name, frames in stacks:
        alike.setdefault(_format(frames), []).append(name)
    for stack, names in sorted(alike.items(), key=lambda item: not item[0].startswith("  File")):
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{names[0]}{others}:\n{stack.rstrip()}"


def _format(frames: Sequence[FrameType]) -> str:
    """Return the frames as a traceback shows them, from the first frame of user code on."""
    first = 0
    while first < len(frames) and frames[first].f_code.co_filename.startswith(_ENGINE):
        first += 1
    if first == len(frames):  # no user code: where it waits says enough
        innermost = frames[-1:]
        return "".join(f"  waits in {each.f_code.co_qualname}" for each in innermost) or "  ended"
    walked = ((frame, frame.f_lineno) for frame in frames[first:])
    return "".join(traceback.StackSummary.extract(walked).format())
