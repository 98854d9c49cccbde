"""The statements that delete runs that ended long ago.

Each answers with JSON texts in its only column. So it makes no difference whether a blocking
connection executes them or the supervisor's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from owsuper.db.claims import Call
from owsuper.db.statement import load

MOST_STEPS: Final = 4000
"""The most step attempts that are deleted by one statement, if it deletes more than one run.

Each 10 kB of stored values count as another one, so copies of such runs take some 40 MB at most,
compressed.
"""
_NAMES: Final = 200


@dataclass(frozen=True, slots=True)
class Range:
    """The runs of one workflow and status, to be read in the order of their creation.

    ``keep`` is in seconds. Those before ``since`` and after ``until`` are left out, and so are the
    first ``skip`` of those that were created at ``since``. With ``run``, it is the run of this id.
    """

    workflow: str
    status: str
    keep: float
    since: str = "-infinity"
    skip: int = 0
    until: str = "infinity"
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run of the range with this index, and whether it can be deleted.

    Its ``predecessors`` continued as each other and then as this run; they go with it. There may be
    too many: ``rest`` is the workflow, the status, the time of creation and the id of the next one.
    """

    range: int
    created_at: str
    id: str
    doomed: bool
    predecessors: Sequence[str] = ()
    rest: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Doomed:
    """A run to delete, with or after ``last``, which may be the run itself."""

    id: str
    last: str
    keep: float


class PruneQueries:
    """The statements of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._workflows = load("prune_workflows", schema)
        self._find = load("prune_find", schema)
        self._delete = load("prune_delete", schema)
        self._documents = load("prune_documents", schema)
        self._watch = load("watch_retention", schema)
        self._rules = load("prune_rules", schema)

    def watch(self) -> Call:
        """Become the one that deletes; the answer is ``b"true"`` or ``b"false"``."""
        return self._watch, (self._namespace,)

    def rules(self) -> Call:
        """Return the statement for ``parse_rules``: the rules of all supervisors."""
        return self._rules, (self._namespace,)

    def workflows(self, after: str) -> Call:
        """Return the statement for ``parse_workflows``: names of workflows that have runs."""
        return self._workflows, (self._namespace, after, _NAMES)

    def find(self, ranges: Sequence[Range], count: int) -> Call:
        """Return the statement for ``parse_found``. At most ``count`` runs are looked at."""
        document = [{"range": number, **asdict(each)} for number, each in enumerate(ranges)]
        return self._find, (self._namespace, _json(document), count, MOST_STEPS)

    def delete(self, runs: Sequence[Doomed]) -> Call:
        """Return the statement for ``parse_deleted``. It waits for locks for 0.2 s at most."""
        return self._delete, (self._namespace, _json([asdict(each) for each in runs]))

    def documents(self, run_ids: Sequence[str]) -> Call:
        """Return the statement that has a row of JSON for each run, as ``runs export`` prints."""
        return self._documents, (self._namespace, _json(run_ids))


def parse_rules(rows: Sequence[str | bytes]) -> list[list[str]]:
    """Return the rules of each supervisor that has some."""
    rules: list[list[str]] = orjson.loads(rows[0])
    return rules


def parse_workflows(rows: Sequence[str | bytes]) -> tuple[list[str], bool]:
    """Return the names, and whether there may be more."""
    names: list[str] = orjson.loads(rows[0])
    return names, len(names) == _NAMES


def parse_found(rows: Sequence[str | bytes]) -> tuple[list[Candidate], bool]:
    """Return the runs that were looked at, and whether there may be more."""
    document = orjson.loads(rows[0])
    return [Candidate(*each) for each in document["runs"]], document["more"]


def parse_deleted(rows: Sequence[str | bytes]) -> set[str]:
    """Return the ids of the runs that were deleted."""
    return set(orjson.loads(rows[0]))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
