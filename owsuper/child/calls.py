"""From what user code wrote to a step that starts a child, waits for a signal or sends one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from owsuper import inputs
from owsuper.core import codec
from owsuper.core.durations import add_ms, add_years, milliseconds
from owsuper.core.model import NewChild, StepKind
from owsuper.core.names import check_signal
from owsuper.core.protocol import FunctionStep
from owsuper.core.retry import RetryPolicy
from owsuper.core.waiting import ChildStep, SignalStep
from owsuper.errors import ConfigurationError, InvalidDuration, StepUsageError
from owsuper.ids import new_id
from owsuper.workflow import Workflow

if TYPE_CHECKING:
    from owsuper.child.passes import Pass, Services

_ONCE: Final = RetryPolicy(maximum_attempts=1)


def child_step(
    this: Pass,
    workflow: Workflow[Any, Any] | str,
    input: Any,
    *,
    name: str | None,
    version: str | None,
    timeout: Any,
    type: Any,
) -> ChildStep:
    """Check and name one call of a child step. Raises StepUsageError, ConfigurationError."""
    if not isinstance(workflow, (Workflow, str)):
        raise StepUsageError(
            f"A child must be a workflow or the name of one, not {workflow!r:.60}. A function is"
            " called by step.run()."
        )
    target, version = inputs.identity(workflow, version)
    if isinstance(workflow, Workflow) and type is None:
        type = workflow.output_type
    elif type is not None:
        codec.check_type(type, f"Child workflow {target!r}: type={type!r}", stored=True)

    def prepare() -> NewChild:
        raw = inputs.encoded(workflow, input, "input")
        return NewChild(new_id(), target, version, raw)

    return ChildStep(this.begin(target if name is None else name), _until(timeout), prepare, type)


def signal_step(
    this: Pass, signal: str, *, timeout: Any, type: Any, name: str | None
) -> SignalStep:
    """Check and name one wait for a signal. Raises StepUsageError, ConfigurationError."""
    check_signal(signal)
    if type is not None:
        codec.check_type(type, f"Signal {signal!r}: type={type!r}", stored=True)
    key = this.begin(signal if name is None else name)
    return SignalStep(key, signal, _until(timeout), type)


def send_step(
    this: Pass, services: Services, signal: str, data: Any, *, name: str | None, buffer: bool
) -> FunctionStep:
    """Check and name one sending of a signal. Raises NotSerializable too."""
    check_signal(signal)
    raw = codec.encode(data, what="data", of=f"signal {signal!r}")
    key = this.begin(signal if name is None else name)
    send = partial(_send, services, this.run.run_id, key, signal, raw, buffer)
    return FunctionStep(key, send, _ONCE, kind=StepKind.SIGNAL_SEND)


def _send(
    services: Services, run_id: str, key: str, signal: str, raw: bytes | None, buffer: bool
) -> dict[str, list[str]]:
    return {"workflowRunIds": services.inquiries.send(run_id, key, signal, raw, buffer)}


def reached(output: Any) -> list[str]:
    """The ids of the runs that a signal reached, of what is stored of its step."""
    return list(output["workflowRunIds"]) if isinstance(output, dict) else []


def moment(when: Any, what: str) -> datetime:
    """``when`` in UTC. Raises ConfigurationError for what is no aware datetime."""
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise ConfigurationError(
            f"{what}: expected an aware datetime, such as datetime.now(UTC) + timedelta(days=1),"
            f" not {when!r}"
        )
    return when.astimezone(UTC)


def _until(timeout: Any) -> Callable[[datetime], datetime]:
    """When a wait that begins at some time ends: after a year, unless ``timeout`` says else."""

    def until(now: datetime) -> datetime:
        if timeout is None:
            return add_years(now, 1)
        if isinstance(timeout, datetime):
            return moment(timeout, "timeout")
        try:
            ms = milliseconds(timeout)
        except InvalidDuration as error:
            raise InvalidDuration(f"timeout: {error}") from None
        if ms < 0 and isinstance(timeout, (int, float)):
            raise InvalidDuration("Timeout must be a non-negative number")
        return add_ms(now, ms)

    return until
