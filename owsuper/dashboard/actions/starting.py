"""Starting a run of a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from owsuper.client import new_run
from owsuper.client.session import Session
from owsuper.dashboard import parameters
from owsuper.dashboard.actions import performing, typed
from owsuper.dashboard.actions.fields import InvalidField
from owsuper.dashboard.actions.performing import Action, ActionAnswer
from owsuper.dashboard.actions.typed import ValueForm
from owsuper.dashboard.known import ApplicationFailed, KnownWorkflow
from owsuper.dashboard.visit import Visit
from owsuper.errors import ConfigurationError, DataError

_UNPROCESSABLE: Final = 422


async def choose(visit: Visit) -> Response:
    """Show the workflows, or the form for one."""
    performing.permit(visit)
    name = visit.query("workflow")
    if name is None:
        return visit.render("start_choose.html", workflows=visit.options.known.workflows)
    version = visit.query("version")
    known = visit.options.known.get(name, version)
    before = await performing.arguments_before(visit, "start")
    form = typed.again(visit, known.input if known else None, before, "input")
    if (attributes := before.get("attributes")) is not None:
        kept = performing.was_kept(visit, attributes)
        shown = "\n".join(attributes) if kept else ""
        typed_before = {**form.typed, "attributes": shown}
        form = replace(form, typed=typed_before, lost=form.lost or not kept)
    return _form(visit, name, version, known, form)


def _form(
    visit: Visit,
    name: str,
    version: str | None,
    known: KnownWorkflow | None,
    form: ValueForm,
    *,
    status: int = 200,
) -> Response:
    return visit.render(
        "start.html",
        status=status,
        workflow=name,
        of_version=version,
        known=known,
        form=form,
        identity=performing.identity(visit),
    )


async def start(visit: Visit) -> Response:
    """Start a run with what was typed, or show what is wrong with it."""
    performing.permit(visit)
    name, version = visit.field("workflow"), visit.field("version") or None
    known = visit.options.known.get(name, version)
    schema = known.input if known else None

    def refuse(field: str, message: str) -> Response:
        form = typed.refused(visit, schema, field, message)
        return _form(visit, name, version, known, form, status=_UNPROCESSABLE)

    try:
        attributes = parameters.attributes_from(
            visit.field("attributes").splitlines(), "Attributes"
        )
    except ConfigurationError as error:
        return refuse("attributes", str(error))
    try:
        given = typed.value_of(visit, schema)
        new_run.prepare(name, version, given.value)
    except InvalidField as error:
        return refuse(error.name, error.message)
    except (ConfigurationError, DataError) as error:
        return refuse("json" if isinstance(error, DataError) else "workflow", str(error))
    if known is not None and given.checked:
        session = await visit.ow._database.asession()
        check = partial(visit.options.known.refusal, name, version, given.value)
        try:
            refusal = await session.acall(check)
        except ApplicationFailed as error:
            return refuse("json", typed.unchecked("input", error))
        if refusal is not None:
            return refuse(typed.field_at(refusal.path, visit.field("as")), refusal.message)
    arguments = {"input": performing.kept_value(visit, given.value, given.text)}
    if attributes:
        lines = [f"{attribute}={value}" for attribute, value in attributes.items()]
        arguments["attributes"] = performing.kept_value(visit, lines, "\n".join(lines))
    action = Action(
        name="start", target={"workflow": name, "version": version}, arguments=arguments
    )
    work = partial(_start, name, version, given.value, attributes)
    return await performing.perform(visit, action, work)


def _start(
    name: str,
    version: str | None,
    value: Any,
    attributes: Mapping[str, str],
    session: Session,
    key: str,
) -> ActionAnswer:
    """The run has the key as its id, so it is started once, however often this is called."""
    run_id = session.start(new_run.prepare(name, version, value, id=key, attributes=attributes))
    return ActionAnswer(done=1, message="The run is started.", runs=(run_id,))
