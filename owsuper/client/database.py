"""The database of an OpenWorkflow: its settings, and the session of this process."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from owsuper import setting_sources
from owsuper.client import fork_safety
from owsuper.client.call_threads import CallThreads
from owsuper.client.session import Session
from owsuper.errors import ConfigurationError
from owsuper.settings import SETTING_TYPES, Settings

_STOP: Final = 1.0  # seconds for a thread to end before a fork

_log = logging.getLogger("owsuper.client")


@dataclass(frozen=True, slots=True)
class ExplicitSettings:
    """The settings that the program passed to OpenWorkflow; None for each that it did not."""

    database_url: str | None = None
    namespace: str | None = None
    schema: str | None = None
    listen: bool | None = None
    call_timeout: Any = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None:
                try:
                    object.__setattr__(self, name, SETTING_TYPES[name].read(value))
                except ConfigurationError as error:
                    raise type(error)(f"OpenWorkflow({name}=...): {error}") from None


class _Closes(Protocol):
    """An object with connections, which ``close`` closes."""

    def close(self) -> None: ...


class ClientDatabase:
    """The settings, read on first use, and the session of this process.

    ``explicit`` returns those that the program gives. A forked process opens a session of its own,
    with the settings of its parent. For ``migrates`` see ``Session``.
    """

    def __init__(self, explicit: Callable[[], ExplicitSettings], *, migrates: bool = False) -> None:
        self._explicit = explicit
        self._migrates = migrates
        self._settings: Settings | None = None
        self._directory = Path()
        self._session: Session | None = None
        self._finish: Callable[[], object] = lambda: None
        self._thread = CallThreads(1)
        self._closed_too: weakref.WeakSet[_Closes] = weakref.WeakSet()
        fork_safety.forget_in_children(self)

    @property
    def settings(self) -> Settings:
        """The settings: those passed explicitly, then the environment, pyproject.toml, defaults.

        Raises ConfigurationError.
        """
        with fork_safety.fork_lock:
            if self._settings is None:
                with suppress(FileNotFoundError):  # it was deleted, with any pyproject.toml
                    self._directory = Path.cwd()
                self._settings = setting_sources.load(asdict(self._explicit()))
                setting_sources.log_sources(self._settings, _log, os.environ)
            return self._settings

    @property
    def directory(self) -> Path:
        """The directory of pyproject.toml and the embedded server: the current one on first use."""
        _ = self.settings
        return self._directory

    def session(self) -> Session:
        """Return the session of this process.

        Blocks for about a second if the embedded server has to be started. Raises
        ConfigurationError, EmbeddedUnavailable.
        """
        if (session := self._session) is not None:
            return session
        with fork_safety.fork_lock:
            if self._session is None:
                self._session = Session(
                    self.settings, self.directory / ".owsuper", migrates=self._migrates
                )
                # Called when nothing refers to self any more, at the latest when the program ends.
                self._finish = weakref.finalize(self, self._session.close)
            return self._session

    async def asession(self) -> Session:
        """Awaitable ``session``. The embedded server starts in a thread."""
        if self._session is not None or self.settings.database_url is not None:
            return self.session()
        return await self._thread.run(self.session)

    def close_with(self, other: _Closes) -> None:
        """Have ``close`` close ``other``, which has connections of its own, too."""
        self._closed_too.add(other)

    def close(self) -> None:
        """Close all connections of this process. The next use of the database reconnects."""
        for other in list(self._closed_too):
            other.close()
        with fork_safety.fork_lock:
            self._session, finish = None, self._finish
        finish()

    def forget_settings(self) -> None:
        """Close all connections, and read the settings again at the next use."""
        self._settings = None  # first: another thread may open a session meanwhile
        self.close()

    async def aclose(self) -> None:
        """Awaitable ``close``."""
        await self._thread.run(self.close)

    def suspend_connections(self) -> None:
        """Close idle connections before a fork of this process."""
        self._thread.stop(_STOP)
        if self._session is not None:
            self._session.suspend()

    def forget_connections(self) -> tuple[object, Iterable[int]] | None:
        """Drop the session of the parent process; see ``ForkSafe``."""
        session, self._session = self._session, None
        return None if session is None else (session, session.sockets())
