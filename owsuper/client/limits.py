"""Reading limits, and changing their amounts at run time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from owsuper.errors import LimitNotFound

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase
    from owsuper.client.session import Session
    from owsuper.db.clients import Operation
    from owsuper.db.limit_reads import LimitKeyRow, LimitReads, LimitRow

T = TypeVar("T")
_Work: TypeAlias = "Generator[Operation[Any], Any, T]"

_KEYS: Final = 100  # of a limit, in one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKey:
    """A key of a limit: how many runs hold a place, and how many runs or steps wait.

    A limit without a key has one, the empty text. Counts end at 1,000. ``since`` is the earliest
    due time of the runs that wait, or of the first thousand.
    """

    key: str
    held: int
    waiting: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatus:
    """A limit as it was when it was read, of all hosts.

    ``kind`` is ``"concurrency"`` or ``"rate"``. ``amount`` is the one that holds, and
    ``declared_amount`` that of the code. ``period`` is in seconds. ``key`` is the
    path into the input; it is None for a limit without a key, and for a key that code computes
    (``keyed``). ``workflows`` have the limit, or steps that have used it. ``held`` runs have a
    place and ``waiting`` runs or steps wait; both counts end at 1,000. ``keys`` are at most 100
    keys in use, if they were asked for.
    """

    name: str
    kind: str
    amount: int
    declared_amount: int
    period: float | None
    burst: int | None
    key: str | None
    keyed: bool
    hold: str
    workflows: tuple[str, ...]
    held: int
    waiting: int
    keys: tuple[LimitKey, ...] = ()


class ChangesLimits:
    """The methods of OpenWorkflow about limits."""

    _database: ClientDatabase

    def list_limits(self) -> list[LimitStatus]:
        """Return the limits that workers have stored, by name.

        Raises DatabaseUnreachable and MigrationError.
        """
        return self._do(_list)

    async def alist_limits(self) -> list[LimitStatus]:
        """Awaitable :meth:`list_limits`."""
        return await self._ado(_list)

    def get_limit(self, name: str) -> LimitStatus:
        """Return a limit with its keys. Raises LimitNotFound, and as :meth:`list_limits` does."""
        return self._do(lambda reads: _get(reads, name))

    async def aget_limit(self, name: str) -> LimitStatus:
        """Awaitable :meth:`get_limit`."""
        return await self._ado(lambda reads: _get(reads, name))

    def set_limit(self, name: str, amount: int) -> LimitStatus:
        """Change the amount of a limit at once, on all hosts, until ``reset_limit``.

        A deploy does not change it. Runs that hold a place keep it, even if they are too many now.

        Raises ConfigurationError for an amount that is none, LimitNotFound, and as
        :meth:`list_limits` does.
        """
        checked = _checked(amount)
        return self._do(lambda reads: _set(reads, name, checked))

    async def aset_limit(self, name: str, amount: int) -> LimitStatus:
        """Awaitable :meth:`set_limit`."""
        checked = _checked(amount)
        return await self._ado(lambda reads: _set(reads, name, checked))

    def reset_limit(self, name: str) -> LimitStatus:
        """Give a limit the amount of the code again. Raises as :meth:`get_limit` does."""
        return self._do(lambda reads: _set(reads, name, None))

    async def areset_limit(self, name: str) -> LimitStatus:
        """Awaitable :meth:`reset_limit`."""
        return await self._ado(lambda reads: _set(reads, name, None))

    def _do(self, begin: Callable[[LimitReads], _Work[T]]) -> T:
        session = self._database.session()
        work = begin(_reads(session))
        try:
            operation = next(work)
            while True:
                operation = work.send(session.run(operation.run))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _ado(self, begin: Callable[[LimitReads], _Work[T]]) -> T:
        session = await self._database.asession()
        work = begin(_reads(session))
        try:
            operation = next(work)
            while True:
                operation = work.send(await session.arun(operation.run))
        except StopIteration as end:
            result: T = end.value
            return result


def _reads(session: Session) -> LimitReads:
    from owsuper.db.limit_reads import LimitReads  # few programs need it

    return LimitReads(session.schema, session.namespace)


def _list(reads: LimitReads) -> _Work[list[LimitStatus]]:
    rows: list[LimitRow] = yield reads.all()
    return [_status(row) for row in rows]


def _get(reads: LimitReads, name: str) -> _Work[LimitStatus]:
    rows: list[LimitRow] = yield reads.all(name)
    if not rows:
        raise _not_found(name, (yield reads.names()))
    keys: list[LimitKeyRow] = yield reads.keys(name, _KEYS)
    return _status(rows[0], keys)


def _set(reads: LimitReads, name: str, amount: int | None) -> _Work[LimitStatus]:
    if not (yield reads.set(name, amount)):
        raise _not_found(name, (yield reads.names()))
    return (yield from _get(reads, name))


def _status(row: LimitRow, keys: list[LimitKeyRow] | None = None) -> LimitStatus:
    return LimitStatus(
        name=row.name,
        kind=row.kind,
        amount=row.amount,
        declared_amount=row.declared_amount,
        period=row.period,
        burst=row.burst,
        key=row.key,
        keyed=row.keyed,
        hold=row.hold,
        workflows=tuple(row.workflows),
        held=row.held,
        waiting=row.waiting,
        keys=tuple(
            LimitKey(key=each.key, held=each.held, waiting=each.waiting, since=each.since)
            for each in keys or ()
        ),
    )


def _checked(amount: int) -> int:
    from owsuper.core.limits import check_amount

    return check_amount(amount, "amount")


def _not_found(name: str, known: list[str]) -> LimitNotFound:
    from difflib import get_close_matches

    close = get_close_matches(str(name), known, n=3)
    if close:
        advice = f"Did you mean {' or '.join(map(repr, close))}?"
    elif known:
        advice = f"There is {known[0]!r}, for example: owsuper limits list shows them all."
    else:
        advice = "There are none: a worker stores the limits of its workflows as it starts."
    return LimitNotFound(f"No limit has the name {name!r}. {advice}")
