"""Limits of steps: a step with a limit takes its turn before it begins, or waits for it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import orjson

from owsuper.child.execution.base import Execution
from owsuper.child.execution.drive import Operations
from owsuper.child.loader import LOADED_AT
from owsuper.core import codec
from owsuper.core.limits import Rate, definition, limit_of_step
from owsuper.core.steps.effects import CallError, TakeTurn
from owsuper.core.unwind import unwind
from owsuper.db.related import Turn
from owsuper.errors import ConfigurationError
from owsuper.workflow import interactive
from owsuper.workflow.run_config import limit_key

# A step that may begin so soon waits for it in its slot: parking a run takes about as long.
_SOON: Final = 0.1  # seconds


def known_limit(execution: Execution, step: str, limit: Any) -> Rate:
    """Return the limit of a step, with a name. Raises ConfigurationError.

    Two limits of one name that this process knows must not differ, unless a cell of a notebook
    has defined the limit again. Keys that functions compute count as one key, because a lambda is
    another function at each call.
    """
    checked = limit_of_step(limit, execution.workflow.name, step)
    own, name = definition(checked), str(checked.name)
    if interactive.is_session():
        execution.services.known_limits[name] = own
    if execution.services.known_limits.setdefault(name, own) != own:
        raise ConfigurationError(
            f'Step {step!r}: the limit "{name}" is defined differently elsewhere. Define it once,'
            " and pass it to all that share it; or give one of them another name: name=..."
        )
    return checked


def take_turn(execution: Execution, effect: TakeTurn) -> Operations[CallError | datetime | None]:
    """Take a token for a step. Returns the answer of the effect."""
    turn_at = (execution.turns or {}).get(effect.key)
    if turn_at is not None and turn_at > execution.now():
        return turn_at
    turn: Turn | CallError
    turn = yield partial(execution.call_database, _take, execution, effect)
    if isinstance(turn, CallError):
        return turn
    if turn.verdict == "lost":
        execution.abandon()
        raise unwind()
    if execution.turns is None:
        execution.turns = {}
    execution.turns |= turn.others
    if turn.verdict == "wait":
        assert turn.at is not None
        execution.turns[effect.key] = turn.at
        return turn.at
    execution.turns.pop(effect.key, None)
    if turn.seconds > 0:
        yield partial(execution.delay, turn.seconds)
    if execution.decided_outcome is not None:
        raise unwind()
    return None


def _take(execution: Execution, effect: TakeTurn) -> Turn | CallError:
    """Ask the database. An error is one of user code, whose limit or input it is about."""
    run, limit, key = execution.run, effect.limit, ""
    if limit.key is not None:
        stored = execution.services.related_runs.stored_input(run)
        try:
            key = limit_key(execution.workflow, limit, codec.decode(stored))
        except Exception as exc:  # InvalidData, or what the user's function raised
            return CallError(exc)
    document = orjson.dumps(definition(limit)).decode()
    defined_at = time.time() if interactive.is_session() else LOADED_AT
    asked = (document, key, datetime.fromtimestamp(defined_at, UTC).isoformat())
    with_others = execution.turns is None and not run.first
    turn = execution.services.related_runs.take_turn(run, effect.key, asked, _SOON, with_others)
    if turn.verdict != "no rate":
        return turn
    return CallError(
        ConfigurationError(
            f'Step {effect.key!r}: the limit "{limit.name}" is one of workflows, and no Rate. Give'
            " the limit of the step another name: name=..."
        )
    )
