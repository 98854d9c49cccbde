"""Records of what was measured, as lines of JSON. A session may consist of several calls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """``values`` are rates a second, counts or seconds. ``text`` stands in their place if empty."""

    peer: str
    key: str
    values: tuple[float, ...]
    repetition: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """``peer`` has no figure, in one repetition or at all, for this ``reason``."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """The machine's facts and warnings, and commits a second by number of clients."""

    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    limits: Mapping[str, tuple[float, ...]]


Record = Measured | Skipped | Conditions


def dump(record: Record) -> str:
    """The record as a line of JSON."""
    return json.dumps({"kind": type(record).__name__.lower(), **asdict(record)})


def load(paths: Iterable[Path]) -> Iterator[Record]:
    """All records in these files, in their order. Raises ValueError for anything else."""
    for path in paths:
        for line in path.read_text("utf-8").splitlines():
            fields: dict[str, Any] = json.loads(line)
            yield _record(fields.pop("kind", ""), fields)


def _record(kind: str, fields: dict[str, Any]) -> Record:
    if kind == "measured":
        return Measured(**{**fields, "values": tuple(fields["values"])})
    if kind == "skipped":
        return Skipped(**fields)
    if kind == "conditions":
        return Conditions(
            tuple((what, which) for what, which in fields["facts"]),
            tuple(fields["warnings"]),
            {clients: tuple(rates) for clients, rates in fields["limits"].items()},
        )
    raise ValueError(f"no such kind of record: {kind!r}")
