"""Every exception that owsuper raises on purpose, and one that applications raise.

OwsuperError
├── ConfigurationError          a setting, name, duration or policy that cannot be used
│   ├── InvalidSchemaName
│   ├── InvalidDuration
│   └── RegistrationError       two workflows of one name and version; nothing registered
├── DatabaseError
│   ├── DatabaseUnreachable     no server answers, or it refuses us
│   ├── MigrationError          the tables are missing, or may not be created
│   └── EmbeddedUnavailable     no database URL, and no embedded PostgreSQL either
├── DataError
│   ├── NotSerializable         a value that cannot be stored as JSON; names the field
│   └── InvalidData             a value that does not fit the declared type; names the field
├── NonRetryableError           raised by applications: a failure that is not worth repeating
├── StepError
│   ├── StepFailed              a step whose retries are exhausted
│   │   └── ChildFailed         a child workflow that failed
│   │       ├── ChildCanceled   … that was canceled
│   │       └── ChildTimedOut   … that was not waited for any longer
│   ├── StepUsageError          a step called where no step may be called
│   ├── StepLimitExceeded       more step attempts than a run may have
│   └── NonDeterminismError     a step of another kind than is recorded under its name
├── WorkerError                 a worker that a program could not start
└── RunError
    ├── RunFailed               result() of a failed run
    ├── RunCanceled             result() of a canceled run
    ├── RunNotFound
    ├── RunNotCancelable        cancel() of a finished run
    ├── RunNotRetryable         retry() of a run that has not failed, or is past its deadline
    └── ResultTimeout           result() gave up waiting (a TimeoutError too)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from owsuper.stored_error import StoredError


class OwsuperError(Exception):
    """Base of every error that owsuper raises on purpose. It may be pickled and copied."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args), self.__dict__


class ConfigurationError(OwsuperError):
    """A setting, name, duration or policy that cannot be used."""


class InvalidSchemaName(ConfigurationError):
    """A schema name outside the rule: ASCII letters, digits, underscores, at most 63 bytes."""


class InvalidDuration(ConfigurationError):
    """A duration that is no timedelta, no number of seconds and no text such as ``"5m"``."""


class RegistrationError(ConfigurationError):
    """Two workflows of one name and version, or a module without workflows."""


class DatabaseError(OwsuperError):
    """Base of what goes wrong between owsuper and its database."""


class DatabaseUnreachable(DatabaseError):
    """No server answers at the configured address, or it refuses us."""


class MigrationError(DatabaseError):
    """The tables are missing or incomplete, or this role may not create them."""


class EmbeddedUnavailable(DatabaseError):
    """No database URL is configured and the embedded PostgreSQL cannot be used."""


class DataError(OwsuperError):
    """Base of errors about values; ``path`` names the offending field."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class NotSerializable(DataError):
    """A value that cannot be stored as JSON."""


class InvalidData(DataError):
    """A value that does not fit the declared type."""


class NonRetryableError(OwsuperError):
    """A failure that is not worth repeating, whatever the retry policies say.

    For applications to raise, or to derive their own errors from: a step that raises it fails at
    once, and so does a run whose workflow function does.
    """


class StepError(OwsuperError):
    """Base of errors about steps."""


class StepFailed(StepError):
    """A step whose retries are exhausted, or whose failure is not one to repeat.

    ``step`` is its durable name; ``error`` the stored error of its last attempt.
    On the pass in which the step ran, ``__cause__`` is the original exception; on replay
    only what was stored is left.
    """

    def __init__(self, step: str, error: StoredError) -> None:
        super().__init__(error.message or error.name or "")
        self.step = step
        self.error = error


class ChildFailed(StepFailed):
    """A child workflow that failed; ``child_run_id`` is its run, ``error`` its stored error."""

    def __init__(self, step: str, error: StoredError, child_run_id: str) -> None:
        super().__init__(step, error)
        self.child_run_id = child_run_id


class ChildCanceled(ChildFailed):
    """A child workflow that was canceled."""


class ChildTimedOut(ChildFailed):
    """A child workflow that had not ended when its parent gave up waiting; it goes on."""


class StepUsageError(StepError):
    """A step called inside another step's function, or after its run ended, or misnamed."""


class StepLimitExceeded(StepError):
    """A run that would record more step attempts than it may have."""

    def __init__(self, limit: int, count: int) -> None:
        super().__init__(f"Exceeded the step limit of {limit} attempts (current count: {count})")
        self.limit = limit
        self.count = count


class NonDeterminismError(StepError):
    """A step of another kind than is recorded under its name: the run fails for good.

    ``step`` is its durable name; ``recorded`` and ``asked`` are kinds, such as ``"function"`` or
    ``"sleep"``.
    """

    def __init__(self, step: str, recorded: str, asked: str) -> None:
        super().__init__(
            f"Step {step!r} is recorded as a step of kind {recorded!r}, and this code asks for one"
            f" of kind {asked!r}. Was the workflow changed while its runs were under way? Give a"
            " step that is replaced another name, or the changed workflow another version."
        )
        self.step = step
        self.recorded = recorded
        self.asked = asked


class WorkerError(OwsuperError):
    """A worker that could not be started; the message quotes what it said."""


class RunError(OwsuperError):
    """Base of errors about a run; ``run_id`` names it."""

    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunFailed(RunError):
    """The run failed; ``error`` is its stored error (name, message, stack)."""

    def __init__(self, message: str, *, run_id: str, error: StoredError) -> None:
        super().__init__(message, run_id=run_id)
        self.error = error


class RunCanceled(RunError):
    """The run was canceled."""


class RunNotFound(RunError):
    """No run of this id exists in this namespace."""


class RunNotCancelable(RunError):
    """The run is finished, so it cannot be canceled."""


class RunNotRetryable(RunError):
    """The run has not failed, or its deadline has passed; ``status`` is how it stood."""

    def __init__(self, message: str, *, run_id: str, status: str) -> None:
        super().__init__(message, run_id=run_id)
        self.status = status


class ResultTimeout(RunError, TimeoutError):
    """The run did not finish in time; it is not affected."""


def _rebuild(kind: type[OwsuperError], args: tuple[Any, ...]) -> OwsuperError:
    # Not by a call, as an exception is by default: what a constructor takes need not be ``args``.
    error = kind.__new__(kind, *args)
    error.args = args  # a kind of OSError leaves them to its constructor
    return error
