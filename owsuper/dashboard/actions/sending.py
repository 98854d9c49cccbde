"""Sending a signal to the runs that wait for it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from psycopg import Connection
from starlette.responses import Response

from owsuper.client import signals
from owsuper.client.models import Run
from owsuper.client.session import Session
from owsuper.core import codec
from owsuper.core.names import check_signal
from owsuper.core.pages import Window
from owsuper.dashboard.actions import chosen, performing, typed
from owsuper.dashboard.actions.fields import InvalidField
from owsuper.dashboard.actions.performing import Action, ActionAnswer
from owsuper.dashboard.actions.typed import ValueForm
from owsuper.dashboard.known import ApplicationFailed, KnownWorkflow
from owsuper.dashboard.visit import Visit
from owsuper.db.dashboard.signal_waits import WaitLists, WaitPage
from owsuper.errors import ConfigurationError, DataError

_UNPROCESSABLE: Final = 422
_SHOWN: Final = 20  # runs that the signal would reach


def _read(
    visit: Visit, signal: str, run_id: str | None, conn: Connection[Any]
) -> tuple[Run | None, WaitPage | None]:
    run = None if run_id is None else chosen.one_run(visit, run_id, conn)
    if not signal:
        return run, None
    lists = WaitLists(visit.schema, visit.namespace)
    return run, lists.page(Window(_SHOWN), signal=signal).run(conn)


async def _form(
    visit: Visit, signal: str, run_id: str | None, *, error: tuple[str, str] | None = None
) -> Response:
    run, waits = await visit.read(partial(_read, visit, signal, run_id))
    if run is None and waits is not None and waits.items:
        # The form follows the type of the run that waits, as long as no other is named.
        run = await visit.read(partial(chosen.one_run, visit, waits.items[0].run_id))
    known = _known(visit, run)
    schema = known.schema_of_signal(signal) if known else None
    form: ValueForm
    if error is None:
        before = await performing.arguments_before(visit, "signal")
        form = typed.again(visit, schema, before, "data")
    else:
        form = typed.refused(visit, schema, *error)
    return visit.render(
        "signal.html",
        status=200 if error is None else _UNPROCESSABLE,
        signal=signal,
        run=run,
        waits=waits,
        known=known is not None and schema is not None,
        form=form,
        identity=performing.identity(visit),
    )


def _known(visit: Visit, run: Run | None) -> KnownWorkflow | None:
    return None if run is None else visit.options.known.get(run.workflow_name, run.version)


async def confirm(visit: Visit) -> Response:
    """Show the form for the data of a signal, and whom it would reach."""
    performing.permit(visit)
    return await _form(visit, visit.query("signal") or "", visit.query("run"))


async def send(visit: Visit) -> Response:
    """Send the signal, or show what is wrong with it."""
    performing.permit(visit)
    signal, run_id = visit.field("signal"), visit.field("run") or None
    run = None if run_id is None else await visit.read(partial(chosen.one_run, visit, run_id))
    known = _known(visit, run)
    schema = known.schema_of_signal(signal) if known else None

    async def refuse(field: str, message: str) -> Response:
        return await _form(visit, signal, run_id, error=(field, message))

    try:
        check_signal(signal)
        given = typed.value_of(visit, schema)
        codec.encode(given.value, path="data")
    except InvalidField as error:
        return await refuse(error.name, error.message)
    except ConfigurationError as error:
        return await refuse("signal", str(error))
    except DataError as error:
        return await refuse("json", str(error))
    session = await visit.ow._database.asession()
    if run is not None and schema is not None and given.checked:
        refusal_of = partial(
            visit.options.known.refusal, run.workflow_name, run.version, given.value, signal=signal
        )
        try:
            refusal = await session.acall(refusal_of)
        except ApplicationFailed as error:
            return await refuse("json", typed.unchecked("data", error))
        if refusal is not None:
            return await refuse(typed.field_at(refusal.path, visit.field("as")), refusal.message)
    keep = bool(visit.field("buffer"))
    action = Action(
        name="signal",
        target={"signal": signal, "run": run_id},
        arguments={"data": performing.kept_value(visit, given.value, given.text), "buffer": keep},
    )
    return await performing.perform(visit, action, partial(_send, signal, given.value, keep))


def _send(signal: str, value: Any, keep: bool, session: Session, key: str) -> ActionAnswer:
    """The key is that of the sender, so the signal is sent once, however often this is called."""
    data = signals.encode(signal, value)
    reached = signals.send(session, signal, data, key, keep=keep)
    if reached:
        return ActionAnswer(
            done=len(reached), message="The signal was sent.", runs=tuple(reached[:20])
        )
    if keep:
        return ActionAnswer(message="No run waits for it now. It is kept for the first that will.")
    return ActionAnswer(refused=1, message="No run waits for this signal, so it was dropped.")
