"""The cost of a claim in one state of the table, beside that in an empty one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from owsuper.bench.claimer import Claimer, claimer
from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure, ratio
from owsuper.bench.fill import DUE, fill
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged

IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Kind:
    """A claim for these ``workflows`` that is to bring so many ``runs``, 0 or 1."""

    name: str
    workflows: Sequence[str]
    runs: int


CLAIM = Kind("claim", ("backlog",), 1)
IDLE_POLL = Kind("idle poll", (IDLE,), 0)


def needed(effort: Effort) -> int:
    """Due runs of ``backlog`` that one comparison of claims uses up."""
    return effort.repetitions * effort.calls


def compare(
    server: Server, full: Stage, effort: Effort, key: str, name: str, kinds: Sequence[Kind]
) -> Iterator[Figure]:
    """Each of ``kinds`` in ``full`` and in a schema with next to nothing, in turn."""
    with staged(server) as empty:
        fill(empty, DUE, needed(effort) * sum(kind.runs for kind in kinds) or 1)
        with claimer(full) as there, claimer(empty) as here:
            for kind in kinds:
                yield from _figures(there, here, kind, key, name, effort)


def _figures(
    there: Claimer, here: Claimer, kind: Kind, key: str, name: str, effort: Effort
) -> Iterator[Figure]:
    full: list[float] = []
    empty: list[float] = []
    for turn in range(effort.repetitions):
        order = [(there, full), (here, empty)]
        for asked, costs in order if turn % 2 else reversed(order):
            costs.append(asked.median_ms(kind.workflows, effort.calls, runs=kind.runs))
    slug = f"{key}.{kind.name.replace(' ', '_')}"
    yield Figure(f"{slug}.ms", f"{kind.name}, {name}", "ms", tuple(full))
    yield ratio(f"{slug}.ratio", f"{kind.name}, {name} / an empty one", full, empty)
