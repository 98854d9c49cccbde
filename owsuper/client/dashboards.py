"""The dashboard of an OpenWorkflow, for a web application to mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from os import PathLike
from typing import Any, TypeAlias, cast

ASGIMessage: TypeAlias = MutableMapping[str, Any]
ASGIApplication: TypeAlias = Callable[
    [ASGIMessage, Callable[[], Awaitable[ASGIMessage]], Callable[[ASGIMessage], Awaitable[None]]],
    Awaitable[None],
]


class ShowsDashboard:
    """The method of OpenWorkflow that returns its dashboard."""

    def dashboard(
        self,
        *,
        auth: str | PathLike[str] | None = None,
        user: Callable[[ASGIMessage], str | None] | None = None,
        insecure: bool = False,
        allow_actions: bool = False,
        hide_values: bool = False,
        secret: str | None = None,
    ) -> ASGIApplication:
        """Return the dashboard as an application of ASGI: ``app.mount("/workflows", ...)``.

        It works below any path, and opens its connections when the first page is read. Who may see
        it is one of these. With ``auth``, those in this password file (see ``owsuper dashboard
        --add-user``). With ``user``, those whom this function names: it gets the scope of a
        request, and returns the name of the user, or None to refuse. With ``insecure``, anybody
        who reaches it. Without all three, only requests that come from this machine, and not
        through a proxy.

        With ``allow_actions`` the pages can cancel and start runs, and so on; otherwise they only
        show. With ``hide_values`` they show no inputs, results, outputs and errors. ``secret``
        signs the cookies: by default that of OWSUPER_DASHBOARD_SECRET, else a random one, which
        several processes of a server do not share.

        Raises ConfigurationError, and ModuleNotFoundError without ``owsuper[dashboard]``.
        """
        # By name, because the dashboard stands above the client and imports it.
        dashboard = import_module("owsuper.dashboard")
        created = dashboard.create(
            self,
            auth=auth,
            user=user,
            insecure=insecure,
            allow_actions=allow_actions,
            hide_values=hide_values,
            secret=secret,
        )
        return cast("ASGIApplication", created)
