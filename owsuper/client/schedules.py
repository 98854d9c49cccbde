"""``ow.schedules``: making, finding and changing schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, Unpack

from owsuper.client.listing import past
from owsuper.client.schedule_models import PastTick, ScheduleStatus, schedule_from_row
from owsuper.core.durations import Duration
from owsuper.core.names import is_storable
from owsuper.core.schedules.spec import ScheduleSpec
from owsuper.db.clients import Operation
from owsuper.db.schedule_store import Deletion, ScheduleRow, ScheduleStore
from owsuper.errors import (
    ConfigurationError,
    ScheduleExists,
    ScheduleNotDeletable,
    ScheduleNotFound,
)
from owsuper.ids import new_id
from owsuper.workflow import scheduling
from owsuper.workflow.definition import Workflow
from owsuper.workflow.scheduling import Timing

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase
    from owsuper.client.handle import RunHandle
    from owsuper.client.session import Session

T = TypeVar("T")

_MOST_TICKS: Final = 10_000  # that one call backfills
_CHUNK: Final = 1000  # runs in one statement
_MOST_LISTED: Final = 200  # ticks: as many as are remembered (REMEMBERED, in ``db.schedules``)

# A class with a method named ``list`` cannot write list[...].
_Schedules: TypeAlias = list[ScheduleStatus]
_Ticks: TypeAlias = list[PastTick]
_Handles: TypeAlias = "list[RunHandle[Any]]"


class _Handling(Protocol):
    def __call__(self, workflow: str, run_id: str) -> RunHandle[Any]: ...


class Schedules:
    """The schedules of a namespace: those that were made by hand, and those that code declares.

    Every method asks the database, and takes at most the client's ``call_timeout``. Every method
    raises DatabaseError with its subclasses DatabaseUnreachable and MigrationError. Those with the
    name of a schedule raise ScheduleNotFound. For each there is an awaitable one: ``acreate``.
    """

    def __init__(self, database: ClientDatabase, handle_of: _Handling) -> None:
        self._database = database
        self._handle_of = handle_of

    # --- create --------------------------------------------------------------------------

    def create(
        self,
        name: str,
        workflow: Workflow[Any, Any] | str,
        cron: str | None = None,
        *,
        version: str | None = None,
        paused: bool = False,
        **timing: Unpack[Timing],
    ) -> ScheduleStatus:
        """Make a schedule, and return it. See :meth:`OpenWorkflow.schedule` for the arguments.

        This program need not define a workflow that is given by name. ``version`` selects its
        version, the input is stored without a check, and without one its runs get the tick. If an
        equal schedule was made before, this returns it as it is.

        Raises ScheduleExists if there is another schedule of this name, ConfigurationError,
        InvalidDuration, InvalidData and NotSerializable.
        """
        spec = scheduling.make(name, workflow, cron, version=version, **timing)
        session = self._database.session()
        store = _store(session)
        now, _ = session.run(store.get(name).run)
        made = session.run(_creation(store, spec, now, paused).run)
        return _created(name, made, session.run(store.get(name).run)[1])

    async def acreate(
        self,
        name: str,
        workflow: Workflow[Any, Any] | str,
        cron: str | None = None,
        *,
        version: str | None = None,
        paused: bool = False,
        **timing: Unpack[Timing],
    ) -> ScheduleStatus:
        """Awaitable :meth:`create`."""
        spec = scheduling.make(name, workflow, cron, version=version, **timing)
        session = await self._database.asession()
        store = _store(session)
        now, _ = await session.arun(store.get(name).run)
        made = await session.arun(_creation(store, spec, now, paused).run)
        return _created(name, made, (await session.arun(store.get(name).run))[1])

    # --- find ----------------------------------------------------------------------------

    def get(self, name: str) -> ScheduleStatus:
        """Return the schedule of this name."""
        session = self._database.session()
        return schedule_from_row(_found(name, session.run(_store(session).get(name).run)[1]))

    async def aget(self, name: str) -> ScheduleStatus:
        """Awaitable :meth:`get`."""
        session = await self._database.asession()
        read = await session.arun(_store(session).get(name).run)
        return schedule_from_row(_found(name, read[1]))

    def list(self, *, after: str | None = None, limit: int | None = None) -> _Schedules:
        """Return the schedules by name: all, or at most ``limit``, those after the name ``after``.

        Raises ConfigurationError for a limit that is no number from 1.
        """
        page = _page(after, limit)
        session = self._database.session()
        return [schedule_from_row(row) for row in session.run(page(_store(session)).run)]

    async def alist(self, *, after: str | None = None, limit: int | None = None) -> _Schedules:
        """Awaitable :meth:`list`."""
        page = _page(after, limit)
        session = await self._database.asession()
        return [schedule_from_row(row) for row in await session.arun(page(_store(session)).run)]

    def ticks(self, name: str, *, limit: int = 20) -> _Ticks:
        """Return the latest ticks of a schedule, the latest first. Some 200 are remembered.

        Raises ConfigurationError for a limit that is not from 1 to 200.
        """
        _check_limit(limit)
        session = self._database.session()
        store = _store(session)
        _found(name, session.run(store.get(name).run)[1])
        return _past(session.run(store.ticks(name, limit).run))

    async def aticks(self, name: str, *, limit: int = 20) -> _Ticks:
        """Awaitable :meth:`ticks`."""
        _check_limit(limit)
        session = await self._database.asession()
        store = _store(session)
        _found(name, (await session.arun(store.get(name).run))[1])
        return _past(await session.arun(store.ticks(name, limit).run))

    # --- change --------------------------------------------------------------------------

    def pause(self, name: str) -> ScheduleStatus:
        """Have a schedule fire no ticks until it is resumed; return it. Its runs go on.

        A schedule that code declares stays paused when workers start again.
        """
        session = self._database.session()
        session.run(_store(session).pause(name).run)
        return self.get(name)

    async def apause(self, name: str) -> ScheduleStatus:
        """Awaitable :meth:`pause`."""
        session = await self._database.asession()
        await session.arun(_store(session).pause(name).run)
        return await self.aget(name)

    def resume(self, name: str) -> ScheduleStatus:
        """Have a paused schedule fire again, from its next tick on; return it.

        The ticks of the pause are left out: :meth:`backfill` starts their runs.
        """
        session = self._database.session()
        store = _store(session)
        now, row = session.run(store.get(name).run)
        session.run(_resumption(store, _found(name, row), now).run)
        return self.get(name)

    async def aresume(self, name: str) -> ScheduleStatus:
        """Awaitable :meth:`resume`."""
        session = await self._database.asession()
        store = _store(session)
        now, row = await session.arun(store.get(name).run)
        await session.arun(_resumption(store, _found(name, row), now).run)
        return await self.aget(name)

    def delete(self, name: str) -> None:
        """Delete a schedule that was made by hand, or that no code declares any more.

        Its runs stay. Raises ScheduleNotDeletable for one that the code of a worker declares.
        """
        session = self._database.session()
        _check_deleted(name, session.run(_store(session).delete(name).run))

    async def adelete(self, name: str) -> None:
        """Awaitable :meth:`delete`."""
        session = await self._database.asession()
        _check_deleted(name, await session.arun(_store(session).delete(name).run))

    # --- start runs ----------------------------------------------------------------------

    def trigger(self, name: str) -> RunHandle[Any]:
        """Start a run of a schedule now, paused or not, whatever runs; return its handle.

        The timetable stays as it is. A workflow that takes the tick gets the present time.
        """
        session, run_id = self._database.session(), new_id()
        store = _store(session)
        row = _found(name, session.run(store.get(name).run)[1])
        _check_there(name, session.run(store.trigger(name, run_id).run))
        return self._handle_of(row.workflow_name, run_id)

    async def atrigger(self, name: str) -> RunHandle[Any]:
        """Awaitable :meth:`trigger`."""
        session, run_id = await self._database.asession(), new_id()
        store = _store(session)
        row = _found(name, (await session.arun(store.get(name).run))[1])
        _check_there(name, await session.arun(store.trigger(name, run_id).run))
        return self._handle_of(row.workflow_name, run_id)

    def backfill(
        self, name: str, *, since: datetime | Duration, until: datetime | Duration | None = None
    ) -> _Handles:
        """Start the runs of the ticks from ``since`` until before ``until``; return their handles.

        A time is an aware datetime, or how long ago: a timedelta, seconds or text such as ``"1h"``.
        Without ``until``, it is now. A tick that has a run gets no other, and the handle of that is
        left out. All are due at once, whatever the schedule's ``overlap`` and ``jitter``. At most
        10,000 ticks.

        Raises ConfigurationError for other times, or more ticks, and InvalidDuration.
        """
        session = self._database.session()
        store = _store(session)
        now, found = session.run(store.get(name).run)
        row = _found(name, found)
        started = [
            run_id
            for chunk in _chunks(row, now, since, until)
            for run_id in session.run(store.backfill(row, chunk).run)
        ]
        return [self._handle_of(row.workflow_name, run_id) for run_id in started]

    async def abackfill(
        self, name: str, *, since: datetime | Duration, until: datetime | Duration | None = None
    ) -> _Handles:
        """Awaitable :meth:`backfill`."""
        session = await self._database.asession()
        store = _store(session)
        now, found = await session.arun(store.get(name).run)
        row = _found(name, found)
        started = [
            run_id
            for chunk in _chunks(row, now, since, until)
            for run_id in await session.arun(store.backfill(row, chunk).run)
        ]
        return [self._handle_of(row.workflow_name, run_id) for run_id in started]


def _store(session: Session) -> ScheduleStore:
    return ScheduleStore(session.schema, session.namespace)


def _page(
    after: str | None, limit: int | None
) -> Callable[[ScheduleStore], Operation[list[ScheduleRow]]]:
    if after is not None and not (isinstance(after, str) and is_storable(after)):
        raise ConfigurationError(f"after: {after!r:.60} is the name of no schedule")
    if limit is not None and (type(limit) is not int or not 1 <= limit < 2**31):
        raise ConfigurationError(f"limit: must be a whole number from 1, not {limit!r:.60}")
    return lambda store: store.page(after, limit)


def _creation(
    store: ScheduleStore, spec: ScheduleSpec, now: datetime, paused: bool
) -> Operation[bool]:
    following = spec.timetable().next_after(now)
    if following is None:
        raise ConfigurationError(
            f'schedule "{spec.name}": no tick is to come. Its end, or its last day, is past.'
        )
    return store.create(spec, following, paused=paused)


def _created(name: str, made: bool, row: ScheduleRow | None) -> ScheduleStatus:
    if not made:
        whose = "" if row is None or row.declared_in is None else f", in {row.declared_in}"
        raise ScheduleExists(
            f'There is another schedule "{name}"{whose}. Delete it first, or take another name.',
            name=name,
        )
    return schedule_from_row(_found(name, row))


def _resumption(store: ScheduleStore, row: ScheduleRow, now: datetime) -> Operation[None]:
    return store.resume(row.name, row.spec.timetable().next_after(now))


def _found(name: str, row: ScheduleRow | None) -> ScheduleRow:
    if row is None:
        raise ScheduleNotFound(f'There is no schedule "{name}"', name=name)
    return row


def _check_there(name: str, there: bool) -> None:
    if not there:
        raise ScheduleNotFound(f'There is no schedule "{name}"', name=name)


def _check_deleted(name: str, deletion: Deletion) -> None:
    _check_there(name, deletion.found)
    if deletion.declared_in is not None:
        raise ScheduleNotDeletable(
            f'The schedule "{name}" is declared in the code of workers ({deletion.declared_in}),'
            " which would store it again. Pause it, or remove it from the code.",
            name=name,
        )


def _check_limit(limit: int) -> None:
    if not isinstance(limit, int) or not 1 <= limit <= _MOST_LISTED:
        raise ConfigurationError(f"limit: {limit!r:.60} must be from 1 to {_MOST_LISTED}")


def _past(rows: Sequence[tuple[datetime, str, str | None, datetime]]) -> _Ticks:
    return [
        PastTick(at=at, outcome=outcome, run_id=run_id, decided_at=decided_at)
        for at, outcome, run_id, decided_at in rows
    ]


def _chunks(
    row: ScheduleRow,
    now: datetime,
    since: datetime | Duration,
    until: datetime | Duration | None,
) -> Iterator[Sequence[tuple[datetime, datetime | None]]]:
    """Yield the ticks to backfill, each with the tick before it, for one statement each."""
    first = _past_moment(since, "since", now)
    last = now if until is None else _past_moment(until, "until", now)
    if first >= last:
        raise ConfigurationError(f"backfill: until ({last}) is not after since ({first})")
    timetable = row.spec.timetable()
    ticks: list[tuple[datetime, datetime | None]] = []
    previous = None
    for tick in timetable.between(first, last):
        if len(ticks) == _MOST_TICKS:
            raise ConfigurationError(
                f"backfill: there are more than {_MOST_TICKS} ticks from {first} to {last}. Take a"
                " part of that time after the other."
            )
        if not ticks:
            before = timetable.latest(1, row.start or row.created_at, tick - timedelta(seconds=1))
            previous = before[0] if before else None
        ticks.append((tick, previous))
        previous = tick
    for start in range(0, len(ticks), _CHUNK):
        yield ticks[start : start + _CHUNK]


def _past_moment(when: datetime | Duration, parameter: str, now: datetime) -> datetime:
    moment = past(when, parameter, now)
    if moment > now:
        raise ConfigurationError(f"{parameter}: {moment} is in the future. Past ticks have runs.")
    return moment
