"""The version of the installed package."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def own_version() -> str | None:
    """Return the version of owsuper; None if it runs without being installed."""
    try:
        return metadata.version("owsuper")
    except metadata.PackageNotFoundError:
        return None
