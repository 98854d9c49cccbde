"""The requests of user code to a step: a class for each kind of step. They are not checked yet.

Every call of a step makes one of these, also on replay. They are not frozen, because a frozen
dataclass takes three times as long to make. ``formerly`` is the name that the step had before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from owsuper.core.durations import Duration
from owsuper.core.upcasts import Upcasts

if TYPE_CHECKING:
    from owsuper.core.limits import Limit, Rate
    from owsuper.core.retry import RetryPolicy

# A workflow takes I and is never asked for one, so a workflow that also accepts None may stand
# where a workflow without input is wanted.
I = TypeVar("I", contravariant=True)  # noqa: E741 - the letter that the documentation uses
O = TypeVar("O", covariant=True)  # noqa: E741 - likewise

Timeout: TypeAlias = Duration | datetime
"""How long to wait, or until when: a duration, or an aware datetime."""


OnInvalid: TypeAlias = Literal["fail", "skip"]
"""What happens if a signal's data does not fit: the step fails, or it skips the signal."""


class Startable(ABC, Generic[I, O]):
    """A workflow, as far as a step or a client needs it to start a run.

    ``I`` is the type of the input, ``O`` the type of the result. Without this class, steps and
    :class:`Workflow` would import each other, since workflow functions take steps.
    """

    name: str
    version: str | None
    upcasts: Upcasts
    compatible_with: frozenset[str | None]
    priority: int
    limits: tuple[Limit, ...]

    @property
    @abstractmethod
    def takes_input(self) -> bool:
        """Whether the function has a second parameter."""

    @property
    @abstractmethod
    def input_type(self) -> Any:
        """The annotated type of the input. Raises ConfigurationError."""

    @property
    @abstractmethod
    def output_type(self) -> Any:
        """The annotated type of the result. Raises ConfigurationError."""


@dataclass(slots=True)
class FunctionCall:
    """Call ``fn(*args)``. ``type`` is that of the result, ``timeout`` that of each attempt.

    ``undo(result)``, here and in ChildRunCall, undoes the step. ``limit`` is that of its attempts.
    """

    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    retry: RetryPolicy | None
    type: Any
    formerly: str | None = None
    timeout: Duration | None = None
    undo: Callable[[Any], Any] | None = None
    limit: Rate | None = None


@dataclass(slots=True)
class TransactionCall(FunctionCall):
    """Call ``fn(connection, *args)`` in a transaction that stores the result as well.

    ``session`` makes a session of SQLAlchemy, ``using`` is an alias of Django.
    """

    session: Callable[[], Any] | None = None
    using: str | None = None


@dataclass(slots=True)
class Sleep:
    """Wait for ``duration``."""

    name: str
    duration: Duration
    formerly: str | None = None


@dataclass(slots=True)
class SleepUntil:
    """Wait until ``when``."""

    name: str
    when: datetime
    formerly: str | None = None


@dataclass(slots=True)
class ChildRunCall:
    """Start a child run of ``workflow`` and wait for it. ``type`` is the type of the result.

    ``name``, here and below, is the name of the step if it has one of its own.
    """

    workflow: Startable[Any, Any] | str
    input: Any
    name: str | None
    version: str | None
    timeout: Timeout | None
    type: Any
    formerly: str | None = None
    priority: int | None = None
    attributes: Mapping[str, str] | None = None
    undo: Callable[[Any], Any] | None = None


@dataclass(slots=True)
class SignalWait:
    """Wait for ``signal``. ``type`` is the type of its data.

    ``on_invalid`` says what happens to a signal with other data.
    """

    signal: str
    timeout: Timeout | None
    type: Any
    name: str | None
    formerly: str | None = None
    on_invalid: OnInvalid = "fail"


@dataclass(slots=True)
class SignalSend:
    """Send ``signal`` with ``data``. With ``buffer``, keep the signal if no run waits for it."""

    signal: str
    data: Any
    name: str | None
    buffer: bool
    formerly: str | None = None


@dataclass(slots=True)
class UndoAll:
    """Undo all steps that have undos and are completed."""


Request: TypeAlias = (
    FunctionCall | Sleep | SleepUntil | ChildRunCall | SignalWait | SignalSend | UndoAll
)
