"""Packages of which a process needs a part: the rest is imported when it is asked for.

A supervisor needs of psycopg its binding of libpq and the exceptions, but importing any part
of a package imports all that its ``__init__`` does: here every type and cursor, then asyncio
for the sake of one exception, and with it another OpenSSL. That is 12 MB of 40, in a process
that is there all the time and does little.

So ``postpone`` puts the bare package into ``sys.modules``, in which submodules are found as
usual. Whoever touches anything else in it has the ``__init__`` run at that moment, and
notices nothing: for ``psycopg.Connection`` the price is memory, not an error.
"""

from __future__ import annotations

import importlib
import logging
import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType


class _Postponed(ModuleType):
    """A package whose ``__init__`` has not run."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system and inspect ask for these in vain
            raise AttributeError(name)
        if _has_submodule(self, name):
            return importlib.import_module(f"{self.__name__}.{name}")
        complete(self.__name__)
        return getattr(self, name)


def for_supervisor() -> None:
    """Postpone what a supervisor never needs the whole of."""
    # psycopg imports it so that Python's set-up of OpenSSL comes before libpq's. Since
    # OpenSSL 1.1, which Python itself asks for, there is nothing to set up.
    postpone("ssl")
    postpone("asyncio", CancelledError="exceptions")
    # From Python 3.12 on, each record would ask asyncio which task it is of.
    setattr(logging, "logAsyncioTasks", False)  # noqa: B010 -- 3.11 knows no such name
    postpone("psycopg", pq="pq")


def postpone(package: str, **parts: str) -> None:
    """Have ``package`` imported when more of it is used than submodules and ``parts``.

    ``parts`` are names in the package, each with the submodule to take it from, or its own
    name for a submodule; these are imported now, in this order. A package that is imported
    already, is not installed, or does not bear this is left alone. For the start of a
    program, before there are threads.
    """
    if package in sys.modules or (spec := find_spec(package)) is None:
        return
    before = set(sys.modules)
    module = sys.modules[package] = module_from_spec(spec)
    module.__class__ = _Postponed
    try:
        for name, submodule in parts.items():
            found = importlib.import_module(f"{package}.{submodule}")
            setattr(module, name, found if name == submodule else getattr(found, name))
    except (ImportError, AttributeError):  # built otherwise than we know it: import it as usual
        for name in sys.modules.keys() - before:
            if name == package or name.startswith(f"{package}."):
                del sys.modules[name]


def _has_submodule(module: ModuleType, name: str) -> bool:
    return hasattr(module, "__path__") and find_spec(f"{module.__name__}.{name}") is not None


def is_postponed(package: str) -> bool:
    return isinstance(sys.modules.get(package), _Postponed)


def complete(package: str) -> None:
    """Run the ``__init__`` of a postponed package now. Raises what that raises."""
    module: ModuleType = sys.modules[package]
    if not is_postponed(package):
        return
    assert module.__spec__ is not None
    assert module.__spec__.loader is not None
    module.__class__ = ModuleType  # first: the package's own modules look into it
    try:
        module.__spec__.loader.exec_module(module)
    except BaseException:
        module.__class__ = _Postponed
        raise
