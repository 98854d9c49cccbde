"""What the log calls the databases of several workers: where they are, and never a password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, unquote

# Stricter than libpq: of a URL in which a password could be taken for something else, nothing is
# shown. A password may hold no @, / or ?, and a port has digits alone.
_HOST: Final = r"(?:\[[0-9A-Fa-f:.%]+\]|[^@/?:,\[\]]*)(?::[0-9]*)?"
_URL: Final = re.compile(
    rf"postgres(?:ql)?://(?:[^@/?]*@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?:/(?P<dbname>[^@/?]*))?(?:\?(?P<query>[^@?]*))?"
)
_PAIR: Final = r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)"
_PAIRS: Final = re.compile(rf"\s*{_PAIR}(?:\s+{_PAIR})*\s*", re.DOTALL)


def labels(urls: Sequence[str]) -> list[str]:
    """Return a label for each database, such as ``eu.example.com/app``. All are different."""
    found = [_label(url) or f"database-{number}" for number, url in enumerate(urls, 1)]
    return [
        f"{label}-{found[:number].count(label)}" if found.count(label) > 1 else label
        for number, label in enumerate(found, 1)
    ]


def _label(url: str) -> str:
    """Return host, port and database; empty if they cannot be told from the rest."""
    if match := _URL.fullmatch(url):
        parameters = dict(parse_qsl(match["query"] or ""))
        place = unquote(match["hosts"]) or _place(parameters)
        name = unquote(match["dbname"] or "") or parameters.get("dbname", "")
    elif "://" not in url and _PAIRS.fullmatch(url):
        parameters = dict(_pairs(url))
        place, name = _place(parameters), parameters.get("dbname", "")
    else:
        return ""
    label = "/".join(filter(None, (place, name)))
    return label if label.isprintable() else ""


def _place(parameters: Mapping[str, str]) -> str:
    return ":".join(filter(None, (parameters.get("host"), parameters.get("port"))))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(_PAIR, text, re.DOTALL):
        name, value = match.groups()
        if value.startswith("'"):
            value = value[1:-1]
        yield name, re.sub(r"\\(.)", r"\1", value)
