"""What type a step's result comes back as: the one its function is annotated to return."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

from owsuper.core import codec

_known: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()


def result_type(step: str, fn: Callable[..., Any], given: Any) -> Any:
    """The type of the step's result: as ``given``, else as ``fn`` is annotated to return.

    None where there is no annotation, or none that can be resolved: plain JSON. For an
    ``async def`` it is the type of the awaited value, as annotations are.

    Raises ConfigurationError for a type that JSON cannot be converted to: now, because once
    the function has run it would be too late.
    """
    if given is not None:
        codec.check_type(given, f"Step {step!r}: type={given!r}", stored=True)
        return given
    while isinstance(fn, functools.partial):
        fn = fn.func
    if "return" not in getattr(fn, "__annotations__", {}):
        return None
    function = getattr(fn, "__func__", fn)  # bound methods are made anew at every access
    with suppress(KeyError, TypeError):
        return _known[function]
    try:
        hint = get_type_hints(function).get("return")
    except Exception:  # annotations may name what exists only for a type checker
        hint = None
    codec.check_type(
        hint, f"Step {step!r}: what {_name(function)} is annotated to return", stored=True
    )
    with suppress(TypeError):  # not every callable can be referred to weakly
        _known[function] = hint
    return hint


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
