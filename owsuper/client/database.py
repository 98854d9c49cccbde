"""Where an OpenWorkflow's runs are, and this process's way there."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from owsuper import settings
from owsuper.client import fork_safety
from owsuper.client.session import Session
from owsuper.errors import ConfigurationError
from owsuper.settings import SETTING_TYPES, Settings


@dataclass(frozen=True, slots=True)
class ExplicitSettings:
    """What the program itself said, as opposed to its surroundings; None where nothing."""

    database_url: str | None = None
    namespace: str | None = None
    schema: str | None = None
    listen: bool | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None:
                try:
                    SETTING_TYPES[name].read(value)
                except ConfigurationError as error:
                    raise type(error)(f"OpenWorkflow({name}=...): {error}") from None


class ClientDatabase:
    """Settings, read on first use, and the session of this process.

    A forked child gets a session of its own, with the settings of its parent.
    """

    def __init__(self, explicit: ExplicitSettings) -> None:
        self._explicit = explicit
        self._settings: Settings | None = None
        self._directory = Path()
        self._session: Session | None = None
        self._finish: Callable[[], object] = lambda: None
        fork_safety.forget_in_children(self)

    @property
    def settings(self) -> Settings:
        """What was given explicitly, else the environment's, else pyproject.toml's, else defaults.

        Raises ConfigurationError.
        """
        with fork_safety.fork_lock:
            if self._settings is None:
                self._directory = Path.cwd()
                self._settings = settings.load(asdict(self._explicit))
            return self._settings

    @property
    def directory(self) -> Path:
        """Where the settings were read; pyproject.toml and the embedded server are there."""
        _ = self.settings
        return self._directory

    def session(self) -> Session:
        """The session of this process. May block for a second, to start the embedded server."""
        if (session := self._session) is not None:
            return session
        with fork_safety.fork_lock:
            if self._session is None:
                self._session = Session(self.settings, self.directory / ".owsuper")
                # When nobody can use it any more, at the latest at the end of the program.
                self._finish = weakref.finalize(self, self._session.close)
            return self._session

    async def asession(self) -> Session:
        """The session of this process; an embedded server starts beside the event loop."""
        if self._session is not None or self.settings.database_url is not None:
            return self.session()
        return await asyncio.to_thread(self.session)

    def close(self) -> None:
        """Close all connections of this process. Whoever uses the database again reconnects."""
        with fork_safety.fork_lock:
            self._session, finish = None, self._finish
        finish()

    def forget_connections(self) -> tuple[object, Iterable[int]] | None:
        session, self._session = self._session, None
        return None if session is None else (session, session.sockets())
