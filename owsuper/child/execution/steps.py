"""Turns requests of user code into step generators: checks arguments and assigns keys."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from owsuper.child.database import RelatedRuns
from owsuper.child.execution.base import Execution
from owsuper.child.execution.drive import is_async
from owsuper.child.execution.step_calls import StepCall
from owsuper.core import codec
from owsuper.core.annotations import annotations_of, evaluate
from owsuper.core.attributes import check_attributes
from owsuper.core.durations import add_ms, add_years, in_utc, milliseconds
from owsuper.core.model import NewChildRun, StepKind
from owsuper.core.names import check_signal
from owsuper.core.purpose import Purpose, digest
from owsuper.core.retry import STEP_DEFAULT, RetryPolicy
from owsuper.core.steps.child_run import ChildRunStep, child_run_step
from owsuper.core.steps.function import FunctionStep, function_step
from owsuper.core.steps.protocol import StepGenerator
from owsuper.core.steps.signal import SignalStep, signal_step
from owsuper.core.steps.sleep import sleep_step
from owsuper.core.steps.undo import undo_steps
from owsuper.core.time_outs import timeout_of
from owsuper.core.undoing import UndoOf
from owsuper.errors import ConfigurationError, DataError, InvalidDuration, StepUsageError
from owsuper.ids import new_id
from owsuper.step.requests import (
    ChildRunCall,
    FunctionCall,
    Request,
    SignalSend,
    SignalWait,
    Sleep,
    SleepUntil,
    Startable,
    TransactionCall,
    UndoAll,
)
from owsuper.workflow.input import encode_input, identify, reencode_input
from owsuper.workflow.run_config import config_of

if TYPE_CHECKING:
    from owsuper.core.limits import Rate

_ONCE: Final = RetryPolicy(maximum_attempts=1)

_return_types: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()
"""The type that each function is annotated to return."""


def create_step(execution: Execution, request: Request) -> tuple[str, StepGenerator]:
    """Return a display name for ``request``, and the generator of its step.

    Raises StepUsageError, ConfigurationError or NotSerializable.
    """
    match request:
        case TransactionCall(name, session=session, using=using):
            from owsuper.child.execution.transaction_sources import source_of  # few need it

            source = source_of(name, session, using)
            steps = function_step(execution, _function_step(execution, request, source))
            return f"step.transaction({name!r})", steps
        case FunctionCall(name):
            steps = function_step(execution, _function_step(execution, request))
            return f"step.run({name!r})", steps
        case UndoAll():
            return "step.undo_all()", undo_steps(execution)
        case Sleep(name, duration, formerly):
            duration_ms = partial(milliseconds, duration)
            steps = sleep_step(execution, execution.step_key(name, formerly), duration_ms)
            return f"step.sleep({name!r})", steps
        case SleepUntil(name, when, formerly):
            at = _aware_utc(when, f"Step {name!r}: when")
            key = execution.step_key(name, formerly)
            steps = sleep_step(execution, key, partial(milliseconds, 0), at)
            return f"step.sleep_until({name!r})", steps
        case ChildRunCall():
            child_run = _child_run_step(execution, request)
            return f"step.run_workflow({child_run.key!r})", child_run_step(execution, child_run)
        case SignalWait(signal):
            steps = signal_step(execution, _signal_step(execution, request))
            return f"step.wait_for_signal({signal!r})", steps
        case SignalSend(signal):
            steps = function_step(execution, _signal_send_step(execution, request))
            return f"step.send_signal({signal!r})", _reached_runs(steps)


def _function_step(execution: Execution, call: FunctionCall, source: Any = None) -> FunctionStep:
    name, fn, retry = call.name, call.fn, call.retry
    if not callable(fn):
        raise StepUsageError(
            f"Step {name!r} was given {type(fn).__name__} {fn!r:.60}, which is not callable. "
            "Pass the function and its arguments apart: step.run(name, fn, arg)."
        )
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError(
            f"Step {name!r}: retry must be a RetryPolicy, not {type(retry).__name__}"
        )
    for argument in call.args:
        if isinstance(argument, StepCall):
            raise StepUsageError(
                f"Step {name!r} was given {argument!r}, which nobody has awaited, as an argument."
                " Await it, and pass its result."
            )
    timeout = timeout_of(call.timeout, execution.step_timeout, name)
    undo = None if call.undo is None else _undo_of(execution, name, call.undo)
    limit = None if call.limit is None else _limit_of(execution, name, call.limit)
    key = execution.step_key(name, call.formerly)
    return FunctionStep(
        key,
        _bound(execution, fn, call.args) if source is None else _taking_connection(fn, call.args),
        retry or STEP_DEFAULT,
        result_type(name, fn, call.type),
        timeout=timeout,
        source=source,
        upcast=execution.workflow.upcasts.steps.get(name),
        undo=undo,
        undo_timeout=execution.step_timeout,
        limit=limit,
    )


def _limit_of(execution: Execution, name: str, limit: Any) -> Rate:
    from owsuper.child.execution.turns import known_limit  # few need it

    return known_limit(execution, name, limit)


def _bound(
    execution: Execution, fn: Callable[..., Any], args: tuple[Any, ...]
) -> Callable[[], Any]:
    """Return a function that calls ``fn(*args)``, within the contexts of ``around_steps``."""
    if execution.services.around_steps:
        from owsuper.child.execution.around import around  # few need it

        fn = around(execution.services.around_steps, fn)
    return partial(fn, *args) if args else fn


def _undo_of(execution: Execution, name: str, undo: Callable[[Any], Any]) -> UndoOf:
    """Return a function that makes the call of ``undo``. Raises StepUsageError."""
    if not callable(undo):
        raise StepUsageError(
            f"Step {name!r}: undo was given {type(undo).__name__} {undo!r:.60}, which is not"
            " callable. Pass a function that takes the step's result:"
            " undo=lambda result: refund(result, order)."
        )

    def undo_of(result: Callable[[], Any]) -> Callable[[], Any]:
        if is_async(undo):

            async def acall() -> Any:
                return await undo(result())

            return _bound(execution, acall, ())
        return _bound(execution, lambda: undo(result()), ())

    return undo_of


def _taking_connection(fn: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Return a function that takes the connection, which comes before ``args``.

    It is async if ``fn`` is. The contexts of ``around_steps`` are around the whole transaction.
    """
    if is_async(fn):

        async def acall(connection: Any) -> Any:
            return await fn(connection, *args)

        return acall
    return lambda connection: fn(connection, *args)


def _child_run_step(execution: Execution, call: ChildRunCall) -> ChildRunStep:
    workflow, input, name, type = call.workflow, call.input, call.name, call.type
    if not isinstance(workflow, (Startable, str)):
        raise StepUsageError(
            "step.run_workflow() takes a workflow or the name of one, not"
            f" {workflow!r:.60}. To call a function, use step.run()."
        )
    target, version = identify(workflow, call.version)
    if isinstance(workflow, Startable) and type is None:
        type = workflow.output_type
    elif type is not None:
        codec.check_type(type, f"Child workflow {target!r}: type={type!r}", stored=True)

    attributes = check_attributes(call.attributes) or None
    config = None
    try:  # now, because user code may change the input before the step begins
        raw, wrong = encode_input(workflow, input, "input"), None
        config = config_of(workflow, raw, call.priority)
    except DataError as error:
        raw, wrong = None, error

    purpose, reread = None, None
    if wrong is None:
        compatible = workflow.compatible_with if isinstance(workflow, Startable) else frozenset()
        purpose = Purpose(
            StepKind.WORKFLOW, target, version, digest(raw), call.formerly, compatible
        )
        reread = partial(reencode_input, workflow)

    def prepare() -> NewChildRun:
        if wrong is not None:
            raise wrong
        child = NewChildRun(new_id(), target, version, raw, config=config, attributes=attributes)
        return child if execution.trace is None else execution.trace.create_child(child)

    step = target if name is None else name
    undo = None if call.undo is None else _undo_of(execution, step, call.undo)
    key = execution.step_key(step, call.formerly)
    upcast = execution.workflow.upcasts.steps.get(step)
    if upcast is None and isinstance(workflow, Startable):
        upcast = workflow.upcasts.result
    return ChildRunStep(
        key,
        _until(call.timeout),
        prepare,
        type,
        purpose,
        reread,
        upcast,
        undo,
        execution.step_timeout,
    )


def _signal_step(execution: Execution, call: SignalWait) -> SignalStep:
    signal, name, type = call.signal, call.name, call.type
    check_signal(signal)
    if type is not None:
        codec.check_type(type, f"Signal {signal!r}: type={type!r}", stored=True)
    if call.on_invalid not in ("fail", "skip"):
        raise ConfigurationError(
            f'Signal {signal!r}: on_invalid must be "fail" or "skip", not {call.on_invalid!r:.60}'
        )
    step = signal if name is None else name
    key = execution.step_key(step, call.formerly)
    skips = call.on_invalid == "skip"
    upcast = execution.workflow.upcasts.steps.get(step)
    return SignalStep(key, signal, _until(call.timeout), type, call.formerly, skips, upcast)


def _signal_send_step(execution: Execution, call: SignalSend) -> FunctionStep:
    signal, name = call.signal, call.name
    check_signal(signal)
    raw = codec.encode(call.data, path="data", owner=f"signal {signal!r}")
    key = execution.step_key(signal if name is None else name, call.formerly)
    send = partial(
        _send, execution.services.related_runs, execution.run.run_id, key, signal, raw, call.buffer
    )
    return FunctionStep(key, send, _ONCE, kind=StepKind.SIGNAL_SEND, signal=signal)


def _send(
    related_runs: RelatedRuns, run_id: str, key: str, signal: str, raw: bytes | None, buffer: bool
) -> dict[str, list[str]]:
    return {"workflowRunIds": related_runs.send(run_id, key, signal, raw, buffer)}


def _reached_runs(steps: StepGenerator) -> StepGenerator:
    """Return the ids of the runs that the signal reached, from the step's stored output."""
    output = yield from steps
    return list(output["workflowRunIds"]) if isinstance(output, dict) else []


def _aware_utc(when: Any, parameter: str) -> datetime:
    """Return ``when`` in UTC. Raises ConfigurationError unless ``when`` is aware."""
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise ConfigurationError(
            f"{parameter}: expected an aware datetime, such as"
            f" datetime.now(UTC) + timedelta(days=1), not {when!r}"
        )
    return in_utc(when, parameter)


def _until(timeout: Any) -> Callable[[datetime], datetime]:
    """Return a function from a wait's start to its end; the default timeout is one year."""

    def until(now: datetime) -> datetime:
        if timeout is None:
            return add_years(now, 1)
        if isinstance(timeout, datetime):
            return _aware_utc(timeout, "timeout")
        try:
            ms = milliseconds(timeout)
        except InvalidDuration as error:
            raise InvalidDuration(f"timeout: {error}") from None
        if ms < 0 and isinstance(timeout, (int, float)):
            raise InvalidDuration("Timeout must be a non-negative number")
        return add_ms(now, ms)

    return until


def result_type(step: str, fn: Callable[..., Any], given: Any) -> Any:
    """Return the type of the step's result: ``given``, or what ``fn`` is annotated to return.

    Returns None, for plain JSON, without an annotation that can be resolved. The type of an
    ``async def`` is that of the awaited value.

    Raises ConfigurationError for a type that JSON cannot be converted to: before the step's
    function runs, so that no result of it is lost.
    """
    if given is not None:
        codec.check_type(given, f"Step {step!r}: type={given!r}", stored=True)
        return given
    while isinstance(fn, functools.partial):
        fn = fn.func
    if "return" not in annotations_of(fn):
        return None
    function = getattr(fn, "__func__", fn)  # every access makes a new bound method
    with suppress(KeyError, TypeError):
        return _return_types[function]
    try:
        hint = evaluate(function, "return")
    except Exception:  # an annotation may name something that only type checkers see
        hint = None
    codec.check_type(
        hint, f"Step {step!r}: what {_qualified_name(function)} is annotated to return", stored=True
    )
    with suppress(TypeError):  # some callables do not support weak references
        _return_types[function] = hint
    return hint


def _qualified_name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
