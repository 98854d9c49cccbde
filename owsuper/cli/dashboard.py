"""``owsuper dashboard``: pages in the browser about runs and workers."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from owsuper import OpenWorkflow, extras, logs, setting_sources, settings
from owsuper.cli import dashboard_settings
from owsuper.cli.arguments import Command, add_settings, flags
from owsuper.cli.dashboard_settings import DashboardSettings
from owsuper.cli.output import print_message
from owsuper.errors import ConfigurationError
from owsuper.settings import Settings
from owsuper.supervisor.exit_status import ExitCode
from owsuper.workflow.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from owsuper.dashboard.known import KnownWorkflows

_log = logging.getLogger("owsuper.dashboard")

_SETTINGS = (
    "modules",
    "database_url",
    "listen_url",
    "schema",
    "namespace",
    "log_level",
    "log_format",
)


def _add_options(parser: argparse.ArgumentParser) -> None:
    dashboard_settings.add_options(parser)
    parser.add_argument(
        "--add-user",
        metavar="NAME",
        help="ask for a password, write the user into the file of --auth, and exit",
    )
    add_settings(parser, _SETTINGS)


def _run(arguments: argparse.Namespace) -> int:
    _check_extra()
    own = dashboard_settings.read(arguments)
    if "add_user" in arguments:
        return _add_user(arguments.add_user, own.auth)
    chosen = setting_sources.load(flags(arguments))
    if "listen_url" in chosen.given:  # which a client takes from the environment
        os.environ[settings.variable_name("listen_url")] = str(chosen.listen_url)
    logs.configure(chosen.log_level, form=chosen.log_format)
    setting_sources.log_sources(chosen, _log, os.environ)
    return _serve(chosen, own)


def _check_extra() -> None:
    try:
        import_module("owsuper.dashboard.serving")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            str(extras.missing(error, "The dashboard", "owsuper[dashboard]"))
        ) from error


def _client(chosen: Settings, of_application: Mapping[str, str | None]) -> OpenWorkflow:
    """Return a client for the database.

    A flag wins over the application's own settings, which win over others, as for a worker.
    """

    def pick(name: str) -> Any:
        own = of_application.get(name)
        return getattr(chosen, name) if name in chosen.given or own is None else own

    return OpenWorkflow(pick("database_url"), namespace=pick("namespace"), schema=pick("schema"))


def _serve(chosen: Settings, own: DashboardSettings) -> int:
    from owsuper.dashboard import serving
    from owsuper.dashboard.known import ApplicationFailed, Imported, Registered

    with ExitStack() as stack:
        known: KnownWorkflows = Registered(Registry())
        of_application: Mapping[str, str | None] = {}
        if chosen.modules:
            try:
                imported = Imported(chosen.modules)
            except ApplicationFailed as error:
                print_message(f"error: {error}", before=error.traceback or "")
                return ExitCode.IMPORT_ERROR
            known, of_application = imported, imported.settings
        ow = _client(chosen, of_application)
        stack.callback(ow.close)
        app = serving.application(
            ow,
            known,
            host=own.host,
            auth=own.auth,
            auth_header=own.auth_header,
            trusted_proxies=own.trusted_proxies,
            insecure=own.insecure,
            allow_actions=own.allow_actions,
            hide_values=own.hide_values,
            secret=own.secret,
        )
        listening = stack.enter_context(serving.listen(own.host, own.port))
        serving.check_database(app)
        where = serving.address(listening, own.root_path)
        how = "actions allowed" if own.allow_actions else "read-only"
        serving.serve(
            app,
            listening,
            own.root_path or "",
            on_ready=lambda: print_message(f"dashboard at {where} ({how})"),
        )
    return ExitCode.CLEAN


def _add_user(name: str, file: str | None) -> int:
    from owsuper.dashboard.passwords import add_user

    if file is None:
        raise ConfigurationError("--add-user needs --auth FILE: the file that the user is added to")
    new = add_user(Path(file), name, _ask_password(name))
    print_message(f"user {name!r} {'added to' if new else 'has another password in'} {file}")
    return ExitCode.CLEAN


def _ask_password(name: str) -> str:
    """Ask twice on a terminal; without one, read a line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Once more: ") != password:
        raise ConfigurationError("the two passwords differ; nothing was written")
    return password


COMMAND = Command("Show runs and workers in the browser", _add_options, _run)
