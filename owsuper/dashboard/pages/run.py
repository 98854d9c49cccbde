"""The page of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from logging import getLevelName
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from owsuper.dashboard import raw_run, texts
from owsuper.dashboard.axis import Axis, read_zoom
from owsuper.dashboard.run_reading import PAGE_SIZE, LogPlace, RunPages, ShownRun
from owsuper.dashboard.run_spans import RunStory, spans, whole_axis
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.timeline import folded_title, lay_out, legend
from owsuper.dashboard.values import ShownValue, shown
from owsuper.dashboard.visit import Visit, refuse
from owsuper.db.dashboard.run_page import (
    ATTEMPT_VALUES,
    RUN_VALUES,
    RunPageQueries,
    StoredValue,
    ValueLimits,
)
from owsuper.errors import ConfigurationError, RunNotFound

_ON_DEMAND: Final = ValueLimits(stored=64_000_000, text=400_000, cut=True)
_WHOLE: Final = ValueLimits(stored=64_000_000, text=268_000_000)
_DIGITS: Final = 18
_LEVELS: Final = {"all": 0, "info": 20, "warning": 30, "error": 40}
_GROWING, _WAITING = 2, 10  # seconds between refreshes of a run that executes, or only waits


async def show(visit: Visit) -> Response:
    """Show a run; or where to look, if it does not exist."""
    run_id = _run_id(visit)
    first = _number(visit, "attempts") // PAGE_SIZE * PAGE_SIZE
    before = _number(visit, "logs")
    level = _LEVELS.get(visit.query("level") or "all")
    if level is None:
        raise refuse(f"level={visit.query('level')!r:.60} is none of {', '.join(_LEVELS)}")
    logs = LogPlace(before or None, level)
    pages = RunPages(visit.schema, visit.namespace, hide=visit.options.hide_values)
    try:
        page = await visit.read(lambda conn: pages.read(conn, run_id, first, logs))
    except RunNotFound:
        return visit.render("run_missing.html", status=404, run_id=run_id)
    story = _story(visit, page)
    whole = whole_axis(story)
    try:
        axis = read_zoom(visit.query("from"), visit.query("to"), whole)
    except ConfigurationError as error:
        raise refuse(str(error)) from None
    timeline = await asyncio.to_thread(lambda: lay_out(spans(story), axis))
    return visit.render(
        "run.html",
        page=page,
        run=page.run,
        at=page.at,
        timeline=timeline,
        legend=legend(timeline),
        zooms=_zooms(visit, axis, whole),
        bar_title=_bar_title,
        bar_href=lambda bar: bar.href or _zoom(visit, Axis(bar.begin, bar.end)),
        pages=_pages(visit, page),
        levels={name: visit.here(level=name, logs=None) for name in _LEVELS},
        level=visit.query("level") or "all",
        level_name=lambda number: getLevelName(number).lower(),
        earlier_url=visit.here(logs=page.earlier) if page.earlier else None,
        newest_url=visit.here(logs=None) if before else None,
        value_url=lambda value: _value_url(visit, value),
        attempt_value_url=lambda step, value: _attempt_value_url(visit, step, value),
        raw_url=visit.url(f"/runs/{run_id}/raw.json"),
        refresh_seconds=_GROWING if page.growing else _WAITING,
    )


def _story(visit: Visit, page: ShownRun) -> RunStory:
    places = {step.id: place for place, step in enumerate(page.steps)}
    addresses = [visit.here(attempts=first or None) for first in range(0, len(places), PAGE_SIZE)]

    def href(step: Any) -> str:
        place = places[step.id]
        return f"{addresses[place // PAGE_SIZE]}#attempt-{place + 1}"

    return RunStory(
        run=page.run,
        attempts=page.steps,
        at=page.at,
        retries=page.retries,
        deaths=page.deaths,
        hide_values=visit.options.hide_values,
        attempt_href=href,
    )


def _bar_title(bar: Any) -> str:
    return bar.title if bar.count == 1 else folded_title(bar)


# --- parameters and addresses --------------------------------------------------------------------


def _run_id(visit: Visit) -> str:
    return str(visit.request.path_params["run_id"])


def _number(visit: Visit, name: str) -> int:
    text = visit.query(name)
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise refuse(
            f"{name}={text[:60]!r} is no place in a list: give a number from 0, such as"
            f" {name}={PAGE_SIZE}"
        )
    return int(text)


def _zoom(visit: Visit, axis: Axis) -> str:
    margin = axis.length * 0.05
    start, end = axis.start - margin, axis.end + margin
    return visit.here(**{"from": f"{start:.3f}", "to": f"{max(end, start + 0.002):.3f}"})


def _zooms(visit: Visit, axis: Axis, whole: Axis) -> Mapping[str, str | None]:
    """Return the addresses of other parts of the timeline; None for one that would be the same."""

    def to(other: Axis) -> str | None:
        if abs(other.start - axis.start) + abs(other.end - axis.end) < 0.001:
            return None
        return visit.here(**{"from": f"{other.start:.3f}", "to": f"{other.end:.3f}"})

    is_whole = axis == whole
    return {
        "in": to(axis.zoomed(0.5, whole)),
        "out": None if is_whole else to(axis.zoomed(2, whole)),
        "earlier": None if is_whole else to(axis.moved(-0.5, whole)),
        "later": None if is_whole else to(axis.moved(0.5, whole)),
        "all": None if is_whole else visit.here(**{"from": None, "to": None}),
    }


def _pages(visit: Visit, page: ShownRun) -> Mapping[str, str | None]:
    """Return the addresses of other pages of the list of step attempts."""
    last = max(len(page.steps) - 1, 0) // PAGE_SIZE * PAGE_SIZE

    def to(first: int) -> str | None:
        if first == page.first or not 0 <= first <= last:
            return None
        return f"{visit.here(attempts=first or None)}#attempts"

    return {
        "first": to(0),
        "previous": to(page.first - PAGE_SIZE),
        "next": to(page.first + PAGE_SIZE),
        "last": to(last),
    }


def _value_url(visit: Visit, value: ShownValue) -> str:
    return visit.url(f"/runs/{_run_id(visit)}/values/{value.name}")


def _attempt_value_url(visit: Visit, step: Any, value: ShownValue) -> str:
    return visit.url(f"/runs/{_run_id(visit)}/attempts/{step.id}/{value.name}")


# --- one value -----------------------------------------------------------------------------------


async def show_value(visit: Visit) -> Response:
    """Show a value, or the beginning of a very large one; its JSON, if the name ends in .json."""
    parameters = visit.request.path_params
    run_id, attempt_id = _run_id(visit), parameters.get("attempt_id")
    name, dot, suffix = parameters["name"].partition(".")
    known = RUN_VALUES if attempt_id is None else ATTEMPT_VALUES
    if name not in known or suffix not in ("", "json") or bool(dot) != bool(suffix):
        raise HTTPException(404, f"There is no such value: choose one of {', '.join(known)}.")
    raw = suffix == "json"
    if visit.options.hide_values:
        raise HTTPException(403, "This dashboard hides values (--hide-values).")
    queries = RunPageQueries(visit.schema, visit.namespace)
    limits = _WHOLE if raw else _ON_DEMAND

    def read(conn: Any) -> StoredValue | None:
        if attempt_id is None:
            return queries.values(run_id, [name], limits).run(conn).get(name)
        found = queries.attempt_values(run_id, [attempt_id], [name], limits).run(conn)
        return found.get(attempt_id, {}).get(name)

    value = await visit.read(read)
    if value is None:
        raise HTTPException(404, f"Run {run_id[:100]} has no such value: it may have been deleted.")
    if raw:
        return _download(value)
    seen = shown(value, hide=False)
    text = await asyncio.to_thread(lambda: None if seen.text is None else texts.block(seen.text))
    return visit.render(
        "run_value.html",
        run_id=run_id,
        attempt_id=attempt_id,
        value=seen,
        text=text,
        raw_url=visit.url(f"{visit.path}.json"),
    )


def _download(value: StoredValue) -> Response:
    if value.text is None:
        raise HTTPException(413, "This value is too large for a browser: read it with SQL.")
    return Response(value.text, headers=_attachment(value.name), media_type="application/json")


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}.json"'}


async def raw(visit: Visit) -> Response:
    """Send all that is known of a run as one JSON document, piece by piece."""
    run_id = _run_id(visit)
    document = raw_run.RawRun(visit.schema, visit.namespace, run_id, hide=visit.options.hide_values)
    beginning = await visit.read(document.beginning)
    return StreamingResponse(
        document.pieces(visit.read, beginning),
        headers=_attachment("run"),
        media_type="application/json",
    )


SCREEN: Final = Screen(
    title=None,
    pages={
        "/runs/{run_id}": show,
        "/runs/{run_id}/raw.json": raw,
        "/runs/{run_id}/values/{name}": show_value,
        "/runs/{run_id}/attempts/{attempt_id}/{name}": show_value,
    },
)
