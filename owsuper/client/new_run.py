"""From what a caller wrote to a new run; nothing is stored before all of it is found valid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Unpack

from owsuper.core import durations
from owsuper.core.names import has_lone_surrogate
from owsuper.db.clients import NewRun
from owsuper.errors import ConfigurationError, InvalidDuration
from owsuper.ids import draw
from owsuper.workflow import input
from owsuper.workflow.definition import Schedule, When, Workflow

_LONGEST_KEY: Final = 1000  # characters; it goes into an index, whose entries are bounded


def prepare(
    workflow: Workflow[Any, Any] | str,
    version: str | None,
    value: Any,
    *,
    idempotency_key: str | None = None,
    **schedule: Unpack[Schedule],
) -> NewRun:
    """The run that ``Workflow.run`` is to start; raises as it does."""
    return replace(
        _template(workflow, version, **schedule),
        input_json=input.encoded(workflow, value, "input"),
        idempotency_key=checked_key(idempotency_key),
    )


def prepare_many(
    workflow: Workflow[Any, Any] | str,
    version: str | None,
    values: Iterable[Any],
    **schedule: Unpack[Schedule],
) -> list[NewRun]:
    """The runs that ``Workflow.run_many`` is to start; raises as it does."""
    template = _template(workflow, version, **schedule)
    encoded = [
        input.encoded(workflow, value, f"inputs[{index}]") for index, value in enumerate(values)
    ]
    return [
        NewRun(
            workflow_name=template.workflow_name,
            version=template.version,
            input_json=input_json,
            available_at=template.available_at,
            deadline_at=template.deadline_at,
            id=run_id,
        )
        for input_json, run_id in zip(encoded, draw(len(encoded)), strict=True)
    ]


def _template(
    workflow: Workflow[Any, Any] | str,
    version: str | None,
    *,
    available_at: When | None = None,
    deadline_at: When | None = None,
) -> NewRun:
    name, version = input.identity(workflow, version)
    return NewRun(
        workflow_name=name,
        version=version,
        available_at=_moment(available_at, "available_at"),
        deadline_at=_moment(deadline_at, "deadline_at"),
    )


def _moment(when: When | None, what: str) -> datetime | None:
    """The time that is meant, in UTC; ``what`` is the parameter. Raises ConfigurationError."""
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise ConfigurationError(
                f"{what}: {when!r} has no time zone, so it names no moment. Use"
                " datetime.now(UTC) or datetime(..., tzinfo=...), or a timedelta from now."
            )
        return durations.in_utc(when, what)
    if isinstance(when, (timedelta, str)):
        try:
            return durations.add_ms(datetime.now(UTC), durations.milliseconds(when))
        except InvalidDuration as error:
            raise InvalidDuration(f"{what}: {error}") from None
    if when is not None:
        raise ConfigurationError(
            f"{what}: expected an aware datetime, a timedelta or text such as '5m', not {when!r}"
        )
    return None


def checked_key(key: str | None) -> str | None:
    """``key``, if it can be an idempotency key. Raises ConfigurationError."""
    if key is None:
        return None
    if not isinstance(key, str):
        raise ConfigurationError(f"idempotency_key: {key!r} must be text, such as {str(key)!r}")
    if len(key) > _LONGEST_KEY:
        raise ConfigurationError(
            f"idempotency_key: it has {len(key)} characters; at most {_LONGEST_KEY} are possible."
            " Use a hash of it."
        )
    if "\x00" in key or has_lone_surrogate(key):
        raise ConfigurationError(
            f"idempotency_key: {key!r} contains U+0000 or a lone surrogate, which PostgreSQL"
            " cannot store"
        )
    return key
