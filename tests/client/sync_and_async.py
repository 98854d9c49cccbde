"""The same client called sync and async: each method by its blocking or its awaitable name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


def blocking(target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """``target.method(...)``"""
    return getattr(target, method)(*args, **kwargs)


def awaiting(target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """``await target.amethod(...)``, each time in an event loop of its own."""
    return asyncio.run(getattr(target, f"a{method}")(*args, **kwargs))


Call = Callable[..., Any]
sync_and_async = pytest.mark.parametrize("call", [blocking, awaiting])
