"""Interactive sessions, such as notebooks: what is defined in them, and defined again."""

from __future__ import annotations

import sys


def is_session() -> bool:
    """Whether this program is an interactive session, and not a script."""
    return not hasattr(sys.modules.get("__main__"), "__file__")


def has_name(value: object) -> bool:
    """Whether ``value`` is one of the globals of the session."""
    return any(each is value for each in list(vars(sys.modules["__main__"]).values()))


def is_redefined(first: object, again: object) -> bool:
    """Whether ``again`` is the function ``first`` once more: its cell was executed again."""
    if not is_session():
        return False
    place, own = (
        (getattr(each, "__module__", None), getattr(each, "__qualname__", None))
        for each in (first, again)
    )
    return place == own and own[0] == "__main__" and own[1] is not None
