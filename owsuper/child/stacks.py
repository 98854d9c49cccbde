"""Where code is: the Python stacks of threads, of coroutines, and of this whole process.

They are read from outside, by a thread that needs nothing from the code which it looks at.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import itertools
import os
import queue
import selectors
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
_ENGINE: Final = str(Path(__file__).resolve().parents[1]) + os.sep
"""The directory of frames that are ours: nobody needs to see them between those of user code."""

_CALLERS: Final = (
    threading.__file__,
    asyncio.__path__[0] + os.sep,
    selectors.__file__,
    queue.__file__,
    psycopg.__path__[0],  # and psycopg_pool beside it
)
"""The files of other frames that say nothing, as long as they do not come after user code."""

_INNER: Final = ("cr_await", "gi_yieldfrom", "ag_await")  # of coroutines and generators
_FRAME: Final = ("cr_frame", "gi_frame", "ag_frame")
_RUNNING: Final = ("cr_running", "gi_running")  # ag_running is true while it waits, too
_MAX_TASKS: Final = 1000


def dump_at_signal() -> None:
    """From now on, write the stacks of all threads to standard error at DUMP_SIGNAL.

    faulthandler does so in C, even while another thread holds the GIL. It reads the frames of
    threads that may run meanwhile, and the process has died of that. So this is for a process that
    does not answer, and everything else reads stacks with the GIL.
    """
    faulthandler.register(DUMP_SIGNAL, file=_STDERR)


def forget_signal() -> None:
    """Undo ``dump_at_signal``, in a process that user code has forked."""
    faulthandler.unregister(DUMP_SIGNAL)


def describe(loops: Iterable[asyncio.AbstractEventLoop] = ()) -> str:
    """Return the stacks of all threads but this one, and of all tasks of their event loops.

    Stacks that are alike are shown once: most threads of a child wait for work. ``loops`` are event
    loops that do not show in the frames of their thread, as uvloop's do not.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = dict.fromkeys(loops)
    threads: list[tuple[str, Sequence[FrameType]]] = []
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            frames = _frames_of(frame)
            found |= dict.fromkeys(_loops_in(frames))
            threads.append((f"thread {names.get(ident, ident)}", frames))
    tasks = [
        (f"task {task.get_name()}", list(_inner_frames(task.get_coro())))
        for loop in found
        for task in list(asyncio.all_tasks(loop))[:_MAX_TASKS]
    ]
    return "\n".join([*_together(threads), *_together(tasks)])


def of_thread(ident: int) -> str:
    """Return the stack of a thread; empty if it is over."""
    frame = sys._current_frames().get(ident)
    return "" if frame is None else _format(_frames_of(frame))


def of_awaitable(awaitable: Any, loop_thread: int) -> str:
    """Return where a coroutine waits; empty if it is over.

    A coroutine that runs now blocks the event loop, so the stack is that of ``loop_thread``.
    """
    if _first(awaitable, _RUNNING):
        return of_thread(loop_thread)
    frames = list(_inner_frames(awaitable))
    return _format(frames) if frames else ""


def _frames_of(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of a thread, the innermost last, which is ``frame``."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _inner_frames(awaited: Any) -> Iterator[FrameType]:
    """Yield the frames of a coroutine, then those of what it awaits."""
    while awaited is not None:
        frame = _first(awaited, _FRAME)
        if frame is not None:
            if not isinstance(frame, FrameType):
                return  # an object that has every attribute, such as a mock or a proxy
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
        yield f"{_storable(names[0])}{others}:\n{stack.rstrip()}"


def _format(frames: Sequence[FrameType]) -> str:
    """Return the frames as a traceback shows them, from the first frame of user code on."""
    others = [each for each in frames if not each.f_code.co_filename.startswith(_ENGINE)]
    shown = list(itertools.dropwhile(_is_caller, others))
    if not shown:  # no user code: where it waits says enough
        innermost = frames[-1:]
        return "".join(f"  waits in {each.f_code.co_qualname}" for each in innermost) or "  ended"
    walked = ((frame, frame.f_lineno) for frame in shown)
    return _storable("".join(traceback.StackSummary.extract(walked).format()))


def _storable(text: str) -> str:
    """Return ``text`` as messages and jsonb take it: a path, or a name, may be no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\ufffd")


def _is_caller(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_CALLERS)
