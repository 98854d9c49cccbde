"""Reads settings: from flags, the environment and pyproject.toml, in this order, else the default.

An empty environment variable counts as absent.

After these, three settings are read from variables that other programs use (BORROWED), so that
an application which is configured already does not end up on an embedded server.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from owsuper import setting_types as types
from owsuper.errors import ConfigurationError
from owsuper.setting_types import SettingType
from owsuper.settings import SETTING_TYPES, Settings, option_name, variable_name

SECTIONS: Final = frozenset({"dashboard"})
"""The tables of settings of one command, see ``load_section``."""

_DATABASE_URL: Final = "DATABASE_URL"
_POSTGRES: Final = re.compile(r"\s*(?P<quote>[\"'])?postg(res(ql)?|is)(\+\w+)?://", re.IGNORECASE)

BORROWED: Mapping[str, tuple[str, ...]] = {
    "database_url": ("OPENWORKFLOW_POSTGRES_URL", _DATABASE_URL),
    "namespace": ("OPENWORKFLOW_NAMESPACE_ID",),
    "schema": ("OPENWORKFLOW_SCHEMA",),
}
"""Variables of OpenWorkflow and of hosting services, by field, in the order of precedence."""


def load(
    flags: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Return the settings from ``flags``, ``env`` and pyproject.toml in ``cwd``.

    ``flags`` are by field name, and None counts as absent. Raises ConfigurationError, which names
    the setting, its source and the allowed values.
    """
    flags, env = flags or {}, os.environ if env is None else env
    values, sources = _read(SETTING_TYPES, flags, env, cwd)
    given = frozenset(name for name in values if flags.get(name) is not None)
    borrowed = tuple(source for name, source in sources.items() if source in BORROWED.get(name, ()))
    return Settings(**values, given=given, borrowed=borrowed)


def load_section(
    section: str,
    known: Mapping[str, SettingType],
    flags: Mapping[str, object],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> dict[str, Any]:
    """Return the settings of one command, by field name: those that are set.

    They are flags, variables such as ``OWSUPER_DASHBOARD_PORT``, and keys under
    ``[tool.owsuper.dashboard]``, in this order. Raises ConfigurationError, as ``load`` does.
    """
    return _read(known, flags, os.environ if env is None else env, cwd, section)[0]


def _read(
    known: Mapping[str, SettingType],
    flags: Mapping[str, object],
    env: Mapping[str, str],
    cwd: Path | None,
    section: str = "",
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of the settings that are set, and the source of each, by field name."""
    prefix = f"{section}_" if section else ""
    _check_switches(env, known, prefix)
    project = dict(_project((cwd or Path()) / "pyproject.toml", known, section))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, setting_type in known.items():
        variable = variable_name(prefix + name)
        if (value := flags.get(name)) is not None:
            source = f"--{option_name(name)}"
        elif value := env.get(variable):
            source = variable
        elif name in project:
            source, value = project[name]
        elif not section and (found := _borrow(name, env)) is not None:
            source, value = found
        else:
            continue
        try:
            values[name] = setting_type.read(value)
        except ConfigurationError as error:
            raise type(error)(f"{source}: {error}") from None
        sources[name] = source
    return values, sources


def log_sources(chosen: Settings, log: logging.Logger, env: Mapping[str, str]) -> None:
    """Log which variables of other programs are in use, and a DATABASE_URL that is not."""
    if chosen.borrowed:
        log.info(
            "settings come from %s, unless the application sets them itself",
            " and ".join(chosen.borrowed),
        )
    if chosen.database_url is None and env.get(_DATABASE_URL):
        log.warning(
            "%s is not the URL of a PostgreSQL server, so owsuper does not use it. Set %s.",
            _DATABASE_URL,
            variable_name("database_url"),
        )


def _borrow(name: str, env: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first of the BORROWED variables of a field that is set, and its value."""
    for variable in BORROWED.get(name, ()):
        value = env.get(variable)
        if value and variable == _DATABASE_URL:
            # SQLAlchemy names a driver: postgresql+psycopg://, and Django's is postgis://. Other
            # databases are not for us. A URL in quotes, a mistake in an env file, is refused later.
            scheme = _POSTGRES.match(value)
            if scheme is None:
                value = None
            elif scheme["quote"] is None:
                value = "postgresql://" + value[scheme.end() :]
        if value:
            return variable, value
    return None


def _check_switches(env: Mapping[str, str], known: Mapping[str, SettingType], prefix: str) -> None:
    """Refuse OWSUPER_NO_LISTEN, which looks like --no-listen and would have no effect."""
    for name, setting_type in known.items():
        wrong = variable_name(f"{prefix}no_{name}")
        if setting_type.read is types.switch and env.get(wrong):
            right = variable_name(f"{prefix}{name}")
            raise ConfigurationError(f"{wrong}: there is no such setting; set {right}=false")


def _project(
    path: Path, known: Mapping[str, SettingType], section: str = ""
) -> Iterator[tuple[str, tuple[str, object]]]:
    """Yield (field, (source, value)) for each setting under [tool.owsuper] in ``path``.

    With a ``section``, those in that table of it.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    path = path.absolute()  # not before: the working directory may have been deleted
    tool = document.get("tool")
    table = tool.get("owsuper", {}) if isinstance(tool, dict) else {}
    title = "tool.owsuper"
    if section:
        title = f"tool.owsuper.{section}"
        table = table.get(section, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: {title} must be a table")
    names = {option_name(name): name for name in known}
    for key, value in table.items():
        if not section and key in SECTIONS:
            continue
        source = f"[{title}] {key} in {path}"
        name = names.get(key.replace("_", "-"))
        if name is None:
            close = difflib.get_close_matches(key.replace("_", "-"), names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(names)}"
            raise ConfigurationError(f"{source}: no such setting; {hint}")
        yield name, (source, value)
