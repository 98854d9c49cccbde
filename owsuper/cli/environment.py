"""Environment variables that look like a setting and are none."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from owsuper import embedded
from owsuper.settings import SETTING_TYPES, variable_name

_PREFIX: Final = "OWSUPER_"
_TESTS: Final = "OWSUPER_TEST_"


def misspelt(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(variable, the one that may be meant) of what is set in ``env`` and would be ignored.

    What resembles no setting may belong to some other program.
    """
    known = {variable_name(name).removeprefix(_PREFIX) for name in SETTING_TYPES}
    others = {embedded.ENVIRONMENT, *(variable_name(f"no_{name}") for name in SETTING_TYPES)}
    for variable, value in sorted(env.items()):
        name = variable.removeprefix(_PREFIX)
        if not value or name in known or variable in others or variable.startswith(_TESTS):
            continue
        if name != variable and (close := difflib.get_close_matches(name, sorted(known), n=1)):
            yield variable, _PREFIX + close[0]
