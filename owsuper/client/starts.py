"""From what a caller wrote to a new run; nothing is stored before all of it is found valid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Unpack

from owsuper.core import codec, durations
from owsuper.core.names import check_workflow_name
from owsuper.db.clients import NewRun
from owsuper.errors import ConfigurationError, InvalidData, InvalidDuration
from owsuper.ids import draw
from owsuper.workflow import Schedule, When, Workflow, check_version

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
        input_json=_encoded(workflow, value, "input"),
        idempotency_key=_checked_key(idempotency_key),
    )


def prepare_many(
    workflow: Workflow[Any, Any] | str,
    version: str | None,
    values: Iterable[Any],
    **schedule: Unpack[Schedule],
) -> list[NewRun]:
    """The runs that ``Workflow.run_many`` is to start; raises as it does."""
    template = _template(workflow, version, **schedule)
    inputs = [_encoded(workflow, value, f"inputs[{index}]") for index, value in enumerate(values)]
    return [
        NewRun(
            workflow_name=template.workflow_name,
            version=template.version,
            input_json=input_json,
            available_at=template.available_at,
            deadline_at=template.deadline_at,
            id=run_id,
        )
        for input_json, run_id in zip(inputs, draw(len(inputs)), strict=True)
    ]


def _template(
    workflow: Workflow[Any, Any] | str,
    version: str | None,
    *,
    available_at: When | None = None,
    deadline_at: When | None = None,
) -> NewRun:
    name, version = _identity(workflow, version)
    return NewRun(
        workflow_name=name,
        version=version,
        available_at=_moment(available_at, "available_at"),
        deadline_at=_moment(deadline_at, "deadline_at"),
    )


def _identity(workflow: Workflow[Any, Any] | str, version: str | None) -> tuple[str, str | None]:
    """Name and version of what is to run. Raises ConfigurationError."""
    if not isinstance(workflow, Workflow):
        return check_workflow_name(workflow), check_version(version)
    if version not in (None, workflow.version):
        raise ConfigurationError(
            f"version: {workflow} cannot be run as version {version!r}. Pass the workflow of that"
            " version, or its name."
        )
    return workflow.name, workflow.version


def _encoded(workflow: Workflow[Any, Any] | str, value: Any, what: str) -> bytes | None:
    """The input ``value`` as JSON that the workflow can read; ``what`` names it in messages.

    Raises NotSerializable, InvalidData.
    """
    if not isinstance(workflow, Workflow):
        return codec.encode(value, what=what, of=f'workflow "{workflow}"')
    if not workflow.takes_input:
        if value is not None:
            raise InvalidData(f"{what} of {workflow}: it takes none, only a step", path=what)
        return None
    raw = codec.encode(value, what=what, of=str(workflow))
    codec.convert(codec.decode(raw), workflow.input_type, what=what, of=str(workflow))
    return raw


def _moment(when: When | None, what: str) -> datetime | None:
    """The time that is meant, in UTC; ``what`` is the parameter. Raises ConfigurationError."""
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise ConfigurationError(
                f"{what}: {when!r} has no time zone, so it names no moment. Use"
                " datetime.now(UTC) or datetime(..., tzinfo=...), or a timedelta from now."
            )
        return when.astimezone(UTC)
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


def _checked_key(key: str | None) -> str | None:
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
    if "\x00" in key or any("\ud800" <= char <= "\udfff" for char in key):
        raise ConfigurationError(
            f"idempotency_key: {key!r} contains U+0000 or a lone surrogate, which PostgreSQL"
            " cannot store"
        )
    return key
