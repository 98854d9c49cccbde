"""Checks a caller's arguments and turns them into new runs, before anything is stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Unpack, cast
from uuid import UUID

from owsuper.core import durations
from owsuper.core.attributes import check_attributes
from owsuper.core.durations import Duration
from owsuper.core.names import has_lone_surrogate
from owsuper.db.new_runs import KEY_LIFETIME, Conflict, NewRun
from owsuper.errors import ConfigurationError, InvalidDuration
from owsuper.ids import draw, new_id
from owsuper.workflow.definition import Workflow
from owsuper.workflow.input import encode_input, identify
from owsuper.workflow.run_config import config_of
from owsuper.workflow.start_options import Times, When

if TYPE_CHECKING:
    from owsuper.core.limits import Concurrency

# Ids stand in index entries, log lines, URLs, commands and titles of processes.
_MAX_ID_LENGTH: Final = 200
_CHOSEN_ID: Final = re.compile(rf"[A-Za-z0-9][-A-Za-z0-9_.:@+=~]{{0,{_MAX_ID_LENGTH - 1}}}")
_LONGEST_LIFETIME: Final = 100 * 366 * 86_400.0  # seconds
_MAX_KEY_LENGTH: Final = 1000  # characters; entries of the key's index are bounded


def prepare(
    workflow: Workflow[Any, Any] | str,
    version: str | None,
    value: Any,
    *,
    id: str | UUID | None = None,
    idempotency_key: str | None = None,
    key_lifetime: Duration | None = None,
    priority: int | None = None,
    attributes: Mapping[str, str] | None = None,
    **schedule: Unpack[Times],
) -> NewRun:
    """Return the run that ``Workflow.run`` starts. Raises as ``Workflow.run`` does."""
    name, version = identify(workflow, version)
    start, end = _times(**schedule)
    if id is not None and idempotency_key is not None:
        raise ConfigurationError(
            "id: pass either an id or an idempotency_key. An id starts one run, like a key, and for"
            " as long as the run is kept."
        )
    raw = encode_input(workflow, value, "input")
    config = config_of(workflow, raw, priority)
    conflict = _conflict(workflow, config)
    if conflict is not None and (id is not None or idempotency_key is not None):
        raise ConfigurationError(
            f"{'id' if id is not None else 'idempotency_key'}: leave it out, because the limit"
            f' "{conflict.limit}" of {workflow} says by its key what a second start does'
            f' (on_conflict="{conflict.policy}")'
        )
    if conflict is not None and conflict.policy == "debounce" and start is not None:
        raise ConfigurationError(
            f'available_at: leave it out, because the limit "{conflict.limit}" of {workflow} says'
            " when a run begins (delay)"
        )
    return NewRun(
        id=new_id() if id is None else check_chosen_id(id),
        has_chosen_id=id is not None,
        workflow_name=name,
        version=version,
        input_json=raw,
        config=config,
        conflict=conflict,
        idempotency_key=check_key(idempotency_key),
        key_lifetime=_check_lifetime(key_lifetime, idempotency_key),
        available_at=start,
        deadline_at=end,
        attributes=check_attributes(attributes) or None,
    )


def prepare_many(
    workflow: Workflow[Any, Any] | str,
    version: str | None,
    values: Iterable[Any],
    *,
    priority: int | None = None,
    attributes: Mapping[str, str] | None = None,
    **schedule: Unpack[Times],
) -> list[NewRun]:
    """Return the runs that ``Workflow.run_many`` starts. Raises as ``Workflow.run_many`` does."""
    name, version = identify(workflow, version)
    start, end = _times(**schedule)
    shared = check_attributes(attributes) or None
    if (limit := _deciding(workflow)) is not None:
        raise ConfigurationError(
            f'run_many: start the runs of {workflow} one by one. Its limit "{limit.name}" decides'
            f' about each start (on_conflict="{limit.on_conflict}").'
        )
    encoded = [
        encode_input(workflow, value, f"inputs[{index}]") for index, value in enumerate(values)
    ]
    return [
        NewRun(
            workflow_name=name,
            version=version,
            input_json=input_json,
            available_at=start,
            deadline_at=end,
            attributes=shared,
            config=config_of(workflow, input_json, priority, path=f"inputs[{index}]"),
            id=run_id,
        )
        for index, (input_json, run_id) in enumerate(zip(encoded, draw(len(encoded)), strict=True))
    ]


def _deciding(workflow: Workflow[Any, Any] | str) -> Concurrency | None:
    """Return the limit of a workflow that decides about starts, if there is one."""
    for limit in () if isinstance(workflow, str) else workflow.limits:
        if getattr(limit, "on_conflict", "queue") != "queue":
            return cast("Concurrency", limit)
    return None


def _conflict(workflow: Workflow[Any, Any] | str, config: dict[str, Any] | None) -> Conflict | None:
    limit = _deciding(workflow)
    if limit is None or config is None:
        return None
    return Conflict(
        limit=str(limit.name),
        key=config["owsuper"]["keys"].get(limit.name, ""),
        amount=limit.amount,
        policy=limit.on_conflict,
        delay=0.0 if limit.delay is None else durations.seconds(limit.delay),
    )


def _times(
    available_at: When | None = None, deadline_at: When | None = None
) -> tuple[datetime | None, datetime | None]:
    start, end = _moment(available_at, "available_at"), _moment(deadline_at, "deadline_at")
    if start is not None and end is not None and start >= end:
        raise ConfigurationError(
            f"deadline_at: the run would fail at {end:%Y-%m-%d %H:%M:%S} UTC, before it may start"
            f" at {start:%Y-%m-%d %H:%M:%S} UTC (available_at). Set a later deadline."
        )
    return start, end


def _moment(when: When | None, parameter: str) -> datetime | None:
    """Return the time ``when`` in UTC. Raises ConfigurationError, which names ``parameter``."""
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise ConfigurationError(
                f"{parameter}: {when!r} has no time zone, so the moment is unknown. Use"
                " datetime.now(UTC) or datetime(..., tzinfo=...), or a timedelta from now."
            )
        return durations.in_utc(when, parameter)
    if isinstance(when, (timedelta, str)):
        try:
            return durations.add_ms(datetime.now(UTC), durations.milliseconds(when))
        except InvalidDuration as error:
            raise InvalidDuration(f"{parameter}: {error}") from None
    if when is not None:
        raise ConfigurationError(
            f"{parameter}: expected an aware datetime, a timedelta or text such as '5m',"
            f" not {when!r}"
        )
    return None


def check_chosen_id(run_id: str | UUID) -> str:
    """Return ``run_id`` as text, if a caller may choose it. Raises ConfigurationError."""
    if isinstance(run_id, UUID):
        return str(run_id)
    if not isinstance(run_id, str) or not _CHOSEN_ID.fullmatch(run_id):
        raise ConfigurationError(
            f"id: {run_id!r:.80} must be a UUID, or text of 1 to {_MAX_ID_LENGTH} ASCII letters,"
            " digits and - _ . : @ + = ~ that begins with a letter or digit"
        )
    return run_id


def _check_lifetime(lifetime: Duration | None, key: str | None) -> float:
    """Return the seconds that ``key`` lasts. Raises ConfigurationError and InvalidDuration."""
    if lifetime is None:
        return KEY_LIFETIME
    if key is None:
        raise ConfigurationError(
            f"key_lifetime: {lifetime!r:.60} has no effect without an idempotency_key. Pass a key,"
            " or an id, which lasts for as long as the run."
        )
    try:
        seconds = durations.seconds(lifetime)
    except InvalidDuration as error:
        raise InvalidDuration(f"key_lifetime: {error}") from None
    if not KEY_LIFETIME <= seconds <= _LONGEST_LIFETIME:
        raise ConfigurationError(
            f"key_lifetime: {lifetime!r:.60} must be from 24 hours to 100 years. A key lasts 24"
            " hours at least, because OpenWorkflow for TypeScript shares it."
        )
    return seconds


def check_key(key: str | None) -> str | None:
    """Return ``key`` if it can be an idempotency key. Raises ConfigurationError."""
    if key is None:
        return None
    if not isinstance(key, str):
        raise ConfigurationError(f"idempotency_key: {key!r} must be text, such as {str(key)!r}")
    if len(key) > _MAX_KEY_LENGTH:
        raise ConfigurationError(
            f"idempotency_key: the key has {len(key)} characters. Use at most {_MAX_KEY_LENGTH}, or"
            " a hash of the key."
        )
    if "\x00" in key or has_lone_surrogate(key):
        raise ConfigurationError(
            f"idempotency_key: {key!r} contains U+0000 or a lone surrogate, which PostgreSQL"
            " cannot store. Remove it."
        )
    return key
