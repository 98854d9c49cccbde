"""Where the code of a step is: stacks of other threads, and of coroutines that wait."""

from __future__ import annotations

import inspect
import sys
import traceback
from pathlib import Path
from types import CoroutineType, FrameType, GeneratorType
from typing import Any, Final

_ENGINE: Final = str(Path(__file__).resolve().parent)
"""The directory of frames that are ours: a user wants to see what comes after them."""


def stack_of_thread(ident: int) -> str:
    """Return the stack of a thread, below the frames of the engine; empty if it is over."""
    frame = sys._current_frames().get(ident)
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return _format(list(reversed(frames)))


def stack_of_awaitable(awaitable: Any, loop_thread: int) -> str:
    """Return the stack of a coroutine: where it waits.

    A coroutine that runs now blocks the event loop, so the stack is that of ``loop_thread``.
    """
    frames: list[FrameType] = []
    while awaitable is not None:
        if isinstance(awaitable, CoroutineType):
            running, frame, awaitable = (
                awaitable.cr_running,
                awaitable.cr_frame,
                awaitable.cr_await,
            )
        elif isinstance(awaitable, GeneratorType) and inspect.isawaitable(awaitable):
            running, frame, awaitable = (
                awaitable.gi_running,
                awaitable.gi_frame,
                awaitable.gi_yieldfrom,
            )
        else:
            awaitable = getattr(awaitable, "_coroutine", None)  # a step that is awaited
            continue
        if running:
            return stack_of_thread(loop_thread)
        if frame is not None:
            frames.append(frame)
    return _format(frames)


def _format(frames: list[FrameType]) -> str:
    """Return the frames as a traceback shows them, without those of the engine above them."""
    ours = [n for n, frame in enumerate(frames) if frame.f_code.co_filename.startswith(_ENGINE)]
    first = ours[-1] + 1 if ours and ours[-1] + 1 < len(frames) else 0
    walked = ((frame, frame.f_lineno) for frame in frames[first:])
    return "".join(traceback.StackSummary.extract(walked).format())
