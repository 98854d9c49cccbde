"""Who may see a dashboard. Each way is a class; ``Guard`` asks it about each request."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import HTTPConnection

from owsuper.dashboard.options import UserOf
from owsuper.dashboard.passwords import PasswordFile
from owsuper.dashboard.senders import Network, Sender, is_from_here
from owsuper.dashboard.sessions import BrowserSession
from owsuper.errors import ConfigurationError


class Denied(Exception):
    """The request is refused; the message tells the person why, and what to do."""


class LoginNeeded(Exception):
    """The browser has to log in first."""


class Access(Protocol):
    """A way to decide who may see pages."""

    @property
    def trusted(self) -> Sequence[Network]:
        """The proxies whose headers about forwarding count."""
        ...

    def user(
        self, conn: HTTPConnection, sender: Sender, session: BrowserSession | None
    ) -> str | None:
        """Return the name of the user, None if nobody asked. Raises Denied and LoginNeeded."""
        ...


@dataclass(frozen=True, slots=True)
class FromHere:
    """Whoever uses a browser on this machine."""

    trusted: Sequence[Network] = ()

    def user(
        self, conn: HTTPConnection, sender: Sender, session: BrowserSession | None
    ) -> str | None:
        """Return None."""
        if not is_from_here(conn):
            raise Denied(
                "This dashboard answers only browsers on its own machine, at localhost or 127.0.0.1"
                " and not through a proxy, because nobody has to log in. To open it to others,"
                " give it a password file or the user of a proxy: see --auth and --auth-header of"
                " owsuper dashboard, and auth= and user= of OpenWorkflow.dashboard()."
            )
        return None


@dataclass(frozen=True, slots=True)
class Anybody:
    """Whoever reaches the port."""

    trusted: Sequence[Network] = ()

    def user(
        self, conn: HTTPConnection, sender: Sender, session: BrowserSession | None
    ) -> str | None:
        """Return None."""
        return None


@dataclass(frozen=True, slots=True)
class ByPassword:
    """Those who know a password in a file."""

    passwords: PasswordFile
    trusted: Sequence[Network] = ()

    def user(
        self, conn: HTTPConnection, sender: Sender, session: BrowserSession | None
    ) -> str | None:
        """Return the name with which the browser logged in, if its password is still that."""
        if session is None or session.user is None:
            raise LoginNeeded
        if self.passwords.fingerprint(session.user) != session.fingerprint:
            raise LoginNeeded  # the user was removed, or has another password now
        return session.user


@dataclass(frozen=True, slots=True)
class ByProxy:
    """Those whom a trusted proxy names in a header."""

    header: str
    trusted: Sequence[Network]

    def user(
        self, conn: HTTPConnection, sender: Sender, session: BrowserSession | None
    ) -> str | None:
        """Return the name in the header."""
        if not sender.trusted:
            raise Denied(
                "This dashboard answers only requests through its proxy, which logs users in. Open"
                " the address of the proxy."
            )
        names = conn.headers.getlist(self.header)
        if len(names) != 1 or not names[0].strip():
            raise Denied(
                f"The proxy did not say who you are: the header {self.header} must be there once."
            )
        return names[0].strip()[:200]


@dataclass(frozen=True, slots=True)
class ByApplication:
    """Those whom a function of the application around the dashboard names."""

    user_of: UserOf
    trusted: Sequence[Network] = ()

    def user(
        self, conn: HTTPConnection, sender: Sender, session: BrowserSession | None
    ) -> str | None:
        """Return the name that the application knows."""
        name: object = self.user_of(conn.scope)
        if inspect.iscoroutine(name):
            name.close()
        # Not whatever is true: a coroutine or an object of nobody must let nobody in.
        if name is not None and not isinstance(name, str):
            raise ConfigurationError(
                f"dashboard: user= must be a def function that returns the name of the user or"
                f" None, and it has returned a {type(name).__name__}"
            )
        if not name:
            raise Denied("You may not see this dashboard. Log in to the application around it.")
        return name[:200]
