"""Limits: how many runs are executed at once, and how many runs or steps begin in a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, TypeVar

from owsuper.core import durations
from owsuper.core.durations import Duration
from owsuper.core.names import is_storable
from owsuper.errors import ConfigurationError, InvalidDuration

Key: TypeAlias = str | Callable[[Any], object]
"""A path into the input, such as ``"order.customer.id"``, or a function of the input."""

Hold: TypeAlias = Literal["run", "executing"]
"""How long a run holds its place: until it ends, or only while it is executed."""

OnConflict: TypeAlias = Literal["queue", "drop", "replace", "debounce"]
"""What a start does while all places of its key are taken."""

MOST: Final = 1_000_000_000  # PostgreSQL's integer holds more than twice as many
_LONGEST: Final = durations.seconds("100y")
_MAX_NAME: Final = 200  # characters; names are parts of index entries


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most ``amount`` runs at once, over all hosts; for each key, if there is a ``key``.

    ``key`` is a path into the input (``"order.customer.id"``), which holds for runs that SQL or
    TypeScript start, too, or a function of the input, for runs that Python starts. ``name`` is that
    of a limit that several workflows share. A run holds its place until it ends; with
    ``hold="executing"``, it gives the place back while it waits for a sleep, a signal, a child run
    or a retry.

    ``on_conflict`` says what a start from Python does while ``amount`` runs of the key have not
    ended. ``"queue"``: the new run waits. ``"drop"``: no run is started, and the handle is that of
    the newest of them. ``"replace"``: the oldest is canceled. ``"debounce"``: a run begins
    ``delay`` after the last start of its key; while one has not begun, a start gives it the new
    input, and the handle is that of this run.

    Raises ConfigurationError, which names the field.
    """

    amount: int
    key: Key | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    hold: Hold = field(default="run", kw_only=True)
    on_conflict: OnConflict = field(default="queue", kw_only=True)
    delay: Duration | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_amount(self.amount, "Concurrency.amount")
        _check_key(self.key, "Concurrency")
        _check_name(self.name, "Concurrency")
        if self.hold not in ("run", "executing"):
            raise ConfigurationError(
                f'Concurrency.hold: {self.hold!r:.60} must be "run" or "executing"'
            )
        if self.on_conflict not in ("queue", "drop", "replace", "debounce"):
            raise ConfigurationError(
                f'Concurrency.on_conflict: {self.on_conflict!r:.60} must be "queue", "drop",'
                ' "replace" or "debounce"'
            )
        if self.on_conflict != "debounce" and self.delay is not None:
            raise ConfigurationError(
                f"Concurrency.delay: {self.delay!r:.60} has an effect only with"
                ' on_conflict="debounce"'
            )
        if self.on_conflict == "debounce":
            if self.delay is None:
                raise ConfigurationError(
                    'Concurrency.delay: on_conflict="debounce" needs a delay, such as delay="10s"'
                )
            _seconds(self.delay, "Concurrency.delay")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``amount`` runs or steps begin in each ``per``, evenly; for each key, with a ``key``.

    ``per`` is a timedelta, a number of seconds, or text such as ``"1m"``. With a ``burst``, so many
    may begin at once after a time with fewer, and then ``amount + burst`` in one ``per``. ``key``
    and ``name`` are as in :class:`Concurrency`. A run counts once, when it begins; a run that goes
    on after a wait does not count again. Of a step with a limit, each attempt counts.

    Raises ConfigurationError, which names the field.
    """

    amount: int
    per: Duration = field(kw_only=True)
    key: Key | None = field(default=None, kw_only=True)
    burst: int | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_amount(self.amount, "Rate.amount")
        _seconds(self.per, "Rate.per")
        _check_key(self.key, "Rate")
        _check_name(self.name, "Rate")
        if self.burst is not None:
            check_amount(self.burst, "Rate.burst")


Limit: TypeAlias = Concurrency | Rate

_L = TypeVar("_L", bound=Limit)


def check_limits(limits: Iterable[Any], workflow: str) -> tuple[Limit, ...]:
    """Return the limits of a workflow, each with a name. Raises ConfigurationError."""
    if isinstance(limits, (str, Concurrency, Rate)) or not isinstance(limits, Iterable):
        raise ConfigurationError(f"limits: {limits!r:.60} must be a list, such as [Concurrency(2)]")
    named: list[Limit] = []
    for limit in limits:
        if not isinstance(limit, (Concurrency, Rate)):
            raise ConfigurationError(f"limits: expected a Concurrency or a Rate, not {limit!r:.60}")
        named.append(_named(limit, workflow))
    names = [each.name for each in named]
    for each in named:
        if names.count(each.name) > 1:
            raise ConfigurationError(
                f'limits: two limits are named "{each.name}". Give each a name of its own: name=...'
            )
    deciding = [each.name for each in named if getattr(each, "on_conflict", "queue") != "queue"]
    if len(deciding) > 1:
        raise ConfigurationError(
            f'limits: both "{deciding[0]}" and "{deciding[1]}" have an on_conflict. A workflow may'
            " have one such limit."
        )
    return tuple(named)


def limit_of_step(limit: Any, workflow: str, step: str) -> Rate:
    """Return the limit of a step, with a name. Raises ConfigurationError."""
    if isinstance(limit, Concurrency):
        raise ConfigurationError(
            f"Step {step!r}: limit={limit!r:.60} is a limit of workflows. Make the step a workflow"
            " of its own with limits=[Concurrency(...)], and call it by step.run_workflow(...);"
            " or use a Rate."
        )
    if not isinstance(limit, Rate):
        raise ConfigurationError(
            f"Step {step!r}: limit={limit!r:.60} must be a Rate, such as"
            ' Rate(100, per="1m", name="api")'
        )
    return _named(limit, f"{workflow}/{step}")


def differing(one: Iterable[Limit], others: Iterable[Limit]) -> str | None:
    """Return the name of a limit that the two define differently, if there is one."""
    by_name = {each.name: each for each in one}
    for each in others:
        if by_name.get(each.name, each) != each:
            return each.name
    return None


def shared_decision(one: Iterable[Limit], others: Iterable[Limit]) -> str | None:
    """Return the name of a limit with an ``on_conflict`` that both have, if there is one."""
    names = {each.name for each in one}
    for each in others:
        if each.name in names and getattr(each, "on_conflict", "queue") != "queue":
            return each.name
    return None


def definition(limit: Limit) -> dict[str, Any]:
    """Return what is stored about a limit that has a name."""
    path = limit.key.split(".") if isinstance(limit.key, str) else None
    common = {
        "name": limit.name,
        "amount": limit.amount,
        "path": path,
        "keyed": limit.key is not None,
    }
    if isinstance(limit, Rate):
        return {
            **common,
            "kind": "rate",
            "period": durations.seconds(limit.per),
            "burst": 1 if limit.burst is None else limit.burst,
            "hold": "run",
            "on_conflict": "queue",
            "delay": None,
        }
    return {
        **common,
        "kind": "concurrency",
        "period": None,
        "burst": None,
        "hold": limit.hold,
        "on_conflict": limit.on_conflict,
        "delay": None if limit.delay is None else durations.seconds(limit.delay),
    }


def check_amount(value: Any, owner: str) -> int:
    """Return ``value`` if it is an amount. Raises ConfigurationError, which names the ``owner``."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ConfigurationError(
            f"{owner}: {value!r:.60} must be a whole number from 1 to {MOST:,}".replace(",", " ")
        )
    return value


def _named(limit: _L, workflow: str) -> _L:
    if limit.name is not None:
        return limit
    parts = [workflow, type(limit).__name__.lower()]
    if isinstance(limit.key, str):
        parts.append(limit.key)
    elif limit.key is not None:
        own = getattr(limit.key, "__name__", "<lambda>")
        parts.append("key" if own == "<lambda>" else own)
    name = "/".join(parts)
    if len(name) > _MAX_NAME:
        raise ConfigurationError(
            f"limits: {name!r:.60} has {len(name)} characters. Give the limit a name: name=..."
        )
    return replace(limit, name=name)


def _check_key(key: Any, owner: str) -> None:
    if key is None:
        return
    if isinstance(key, str):
        if not all(key.split(".")) or not is_storable(key):
            raise ConfigurationError(
                f'{owner}.key: {key!r:.60} must be a path into the input, such as "tenant_id" or'
                ' "order.customer.id": names with dots between them'
            )
        return
    if not callable(key) or inspect.iscoroutinefunction(key):
        raise ConfigurationError(
            f"{owner}.key: {key!r:.60} must be a path into the input, such as"
            ' "order.customer.id", or a function that takes the input'
        )


def _check_name(name: Any, owner: str) -> None:
    if name is None:
        return
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not is_storable(name):
        raise ConfigurationError(
            f"{owner}.name: {name!r:.60} must be text of 1 to {_MAX_NAME} characters"
        )


def _seconds(value: Duration, owner: str) -> float:
    try:
        seconds = durations.seconds(value)
    except InvalidDuration as error:
        raise ConfigurationError(f"{owner}: {error}") from None
    if not 0.001 <= seconds <= _LONGEST:
        raise ConfigurationError(f"{owner}: {value!r:.60} must be from 1 ms to 100 years")
    return seconds
