"""Writes the table of docs/settings.md from the settings that the code declares.

Run it after a change of owsuper/settings.py: python -m tests.docs.settings_page
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields

import pytest

from owsuper import setting_types
from owsuper.errors import ConfigurationError
from owsuper.setting_types import SettingType
from owsuper.settings import SETTING_TYPES, Settings, option_name, variable_name
from tests.docs.documents import ROOT

PAGE = ROOT / "docs" / "settings.md"
BEGIN = "<!-- The table is generated: python -m tests.docs.settings_page -->\n\n"
END = "\n<!-- End of the generated table. -->\n"

# The other types describe the accepted values in their error.
ACCEPTED = {
    setting_types.modules: "a name or a path; in pyproject.toml also a list",
    setting_types.patterns: "a name or a pattern; in pyproject.toml also a list",
    setting_types.schema: "a PostgreSQL identifier",
    setting_types.switch: "true or false",
    setting_types.url: "a URL or a connection string",
}


def table() -> str:
    """The table of all settings, in Markdown."""
    header = (
        "Flag",
        "Environment variable",
        "Key in pyproject.toml",
        "Value",
        "Default",
        "Meaning",
    )
    rows = [header, ("---",) * len(header)]
    rows += [tuple(_cells(field)) for field in fields(Settings) if field.name in SETTING_TYPES]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(field: Field[object]) -> Iterator[str]:
    setting, option = SETTING_TYPES[field.name], option_name(field.name)
    yield f"`--[no-]{option}`" if setting.read is setting_types.switch else f"`--{option}`"
    yield f"`{variable_name(field.name)}`"
    yield f"`{option}`"
    yield _accepted(setting)
    yield _default(field)
    yield setting.help[0].upper() + setting.help[1:]


def _default(field: Field[object]) -> str:
    match field.default:
        case bool(value):
            return str(value).lower()
        case float(seconds):
            return f"{seconds:g}s"
        case None if SETTING_TYPES[field.name].can_be_off:
            return "off"
        case None | ():
            return "none"
        case value if value is MISSING:
            return "one per processor"
        case value:
            return str(value)


def _accepted(setting: SettingType) -> str:
    if setting.read in ACCEPTED:
        return ACCEPTED[setting.read]
    with pytest.raises(ConfigurationError) as refused:
        setting.read(object())
    found = re.match(r"must be (.+?)(?:, such as .+?)?(, or off)?, not ", str(refused.value))
    assert found, f"the error no longer says what is accepted: {refused.value}"
    return found[1] + (found[2] or "")


def generated(text: str) -> str:
    """``text`` of the page with a table that is up to date."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "docs/settings.md has lost the comment that begins the table"
    assert end, "docs/settings.md has lost the comment that ends the table"
    return before + begin + table() + end + after


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
