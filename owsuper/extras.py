"""What an optional part says if the library that it is for is not installed."""

from __future__ import annotations


def missing(error: ModuleNotFoundError, part: str, requirement: str) -> ModuleNotFoundError:
    """Return the error to raise for one that the imports of ``part`` of owsuper have raised."""
    if error.name is None or error.name.partition(".")[0] == "owsuper":
        return error
    library = error.name.partition(".")[0]
    return ModuleNotFoundError(
        f"{part} needs the library {library}: pip install '{requirement}'", name=error.name
    )
