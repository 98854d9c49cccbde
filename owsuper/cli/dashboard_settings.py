"""The settings of ``owsuper dashboard`` alone; those of the database are the same for all."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from owsuper import setting_sources, settings
from owsuper import setting_types as types
from owsuper.errors import ConfigurationError
from owsuper.setting_types import SettingType

SECTION: Final = "dashboard"


def _listed(value: Any) -> tuple[str, ...]:
    """Read a list, or text separated by commas."""
    return types.modules(value)


def _root_path(value: Any) -> str:
    text = types.text(value).rstrip("/")
    if not text.startswith("/") or "?" in text or "#" in text or "//" in text:
        raise ConfigurationError(f"must be a path such as /workflows, not {value!r:.80}")
    return text


def _header(value: Any) -> str:
    text = types.text(value)
    if not text.replace("-", "").isalnum() or not text.isascii():
        raise ConfigurationError(
            f"must be the name of a header such as X-Remote-User, not {value!r:.80}"
        )
    return text.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    """The settings of the command. ``secret`` has no flag: others can read command lines."""

    host: str = field(
        default="127.0.0.1",
        metadata=types.described(
            types.text, "address to listen at; others than this machine's own need --auth"
        ),
    )
    port: int = field(
        default=8080,
        metadata=types.described(
            types.whole(0, 65535), "port to listen at; 0 takes any", metavar="NUMBER"
        ),
    )
    auth: str | None = field(
        default=None,
        metadata=types.described(
            types.text, "file of users and passwords; see --add-user", metavar="FILE"
        ),
    )
    auth_header: str | None = field(
        default=None,
        metadata=types.described(
            _header,
            "header in which a trusted proxy names the user, such as X-Remote-User",
            metavar="NAME",
        ),
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata=types.described(
            _listed,
            "addresses or ranges of proxies whose headers count, with commas between them",
            metavar="ADDRESSES",
        ),
    )
    root_path: str | None = field(
        default=None,
        metadata=types.described(
            _root_path, "path below which a proxy shows the dashboard", metavar="PATH"
        ),
    )
    insecure: bool = field(
        default=False,
        metadata=types.described(types.switch, "let anybody in who reaches the port"),
    )
    allow_actions: bool = field(
        default=False,
        metadata=types.described(types.switch, "let pages cancel, retry, start runs and so on"),
    )
    hide_values: bool = field(
        default=False,
        metadata=types.described(types.switch, "show no inputs, results, outputs and errors"),
    )
    secret: str | None = field(
        default=None,
        repr=False,
        metadata=types.described(types.text, "signs the cookies; random at each start by default"),
    )


DASHBOARD_TYPES: Final[Mapping[str, SettingType]] = {
    each.name: each.metadata["type"] for each in fields(DashboardSettings)
}
_WITHOUT_FLAG: Final = frozenset({"secret"})


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    for each in fields(DashboardSettings):
        if each.name in _WITHOUT_FLAG:
            continue
        setting = DASHBOARD_TYPES[each.name]
        flag = f"--{settings.option_name(each.name)}"
        shown = f"{setting.help} [{settings.variable_name(f'{SECTION}_{each.name}')}]"
        if each.default is False:
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag, dest=each.name, action=action, help=shown)
            continue
        if each.default:
            shown += f" (default: {each.default})"
        metavar = setting.metavar or flag.rpartition("-")[2].upper()
        parser.add_argument(flag, dest=each.name, metavar=metavar, help=shown)


def read(arguments: argparse.Namespace) -> DashboardSettings:
    """Return the settings. Raises ConfigurationError."""
    typed = {name: value for name, value in vars(arguments).items() if name in DASHBOARD_TYPES}
    return DashboardSettings(**setting_sources.load_section(SECTION, DASHBOARD_TYPES, typed))
