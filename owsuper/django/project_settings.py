"""What ``settings.OWSUPER`` of a Django project says."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from owsuper.errors import ConfigurationError
from owsuper.settings import SETTING_TYPES

DEFAULT_ALIAS: Final = "default"
_SHOWN: Final = 'OWSUPER["{}"]'
_OWN_KEYS: Final = ("DATABASE", "RUN_URL")
_NAMES: Final = {name.rstrip("_").upper(): name for name in SETTING_TYPES if name != "modules"}


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """``settings.OWSUPER``.

    ``alias`` names one of ``DATABASES``; it is None if ``values`` has a URL. ``values`` are by
    field of Settings. ``run_url`` is the address of a page about a run, with ``{id}`` in it.
    """

    alias: str | None
    values: Mapping[str, Any]
    run_url: str | None

    @property
    def schema(self) -> str:
        """The schema of the tables."""
        return str(self.values.get("schema", "openworkflow"))

    @property
    def namespace(self) -> str:
        """The namespace of the runs."""
        return str(self.values.get("namespace", "default"))

    @property
    def migrates(self) -> bool:
        """Whether the tables are created and updated without being asked for."""
        return bool(self.values.get("migrate", True))


def read(given: object) -> ProjectSettings:
    """Return the settings that ``given``, a mapping, has. Raises ConfigurationError."""
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"OWSUPER: must be a dict such as {{'DATABASE': 'default'}}, not {given!r:.60}"
        )
    values = {}
    for key, value in given.items():
        if key in _OWN_KEYS:
            continue
        if key not in _NAMES:
            raise ConfigurationError(_unknown(key))
        if value is None:
            continue
        try:
            values[_NAMES[key]] = SETTING_TYPES[_NAMES[key]].read(value)
        except ConfigurationError as error:
            raise type(error)(f"{_SHOWN.format(key)}: {error}") from None
    return ProjectSettings(_alias(given), values, _run_url(given.get("RUN_URL")))


def _unknown(key: object) -> str:
    shown = _SHOWN.format(key)
    if key in ("MODULE", "MODULES"):
        return (
            f"{shown}: there is no such setting: workflows.py of each app is imported. Import"
            " other modules there."
        )
    allowed = (*_OWN_KEYS, *_NAMES)
    close = difflib.get_close_matches(str(key).upper(), allowed, n=1)
    hint = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(allowed)}"
    return f"{shown}: there is no such setting; {hint}"


def _alias(given: Mapping[Any, Any]) -> str | None:
    alias = given.get("DATABASE")
    if given.get("DATABASE_URL") is not None:
        if alias is not None:
            raise ConfigurationError(
                'OWSUPER: give "DATABASE", which is an alias of DATABASES, or "DATABASE_URL", not'
                " both"
            )
        return None
    if alias is None:
        return DEFAULT_ALIAS
    if not isinstance(alias, str):
        raise ConfigurationError(
            f'OWSUPER["DATABASE"]: must be an alias of DATABASES, not {alias!r:.60}'
        )
    return alias


def _run_url(url: object) -> str | None:
    if url is None:
        return None
    if not isinstance(url, str) or "{id}" not in url:
        raise ConfigurationError(
            'OWSUPER["RUN_URL"]: must be an address with {id} in it, such as'
            f' "https://ops.example.com/runs/{{id}}", not {url!r:.60}'
        )
    return url
