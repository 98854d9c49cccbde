"""The templates of pages: escaped, with our filters, strict about names."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from owsuper.dashboard.texts import FILTERS

STATIC: Final = files("owsuper.dashboard") / "static"


@cache
def static_version(name: str) -> str:
    """Return a text that changes with the file, so that browsers may keep it for ever."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]


class Templates:
    """Those of the directory ``templates``. All of them get the values ``everywhere``."""

    def __init__(self, **everywhere: Any) -> None:
        self._environment = Environment(
            loader=PackageLoader("owsuper.dashboard"),
            autoescape=True,  # for all: no page may be plain text by its name
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(FILTERS)
        self._environment.globals.update(everywhere, static_version=static_version)

    def render(self, template: str, /, **values: Any) -> str:
        """Return the text of a page."""
        return self._environment.get_template(template).render(**values)
