"""The errors of owsuper: those that it raises on purpose, and one that applications raise.

OwsuperError
├── ConfigurationError          a setting, name, duration or policy that cannot be used
│   ├── InvalidSchemaName
│   ├── InvalidDuration
│   └── RegistrationError       two workflows with one name and version; no workflow registered
├── DatabaseError
│   ├── DatabaseUnreachable     no server answers (in time), or the server refuses to connect
│   ├── MigrationError          the tables are missing, or cannot be created
│   └── EmbeddedUnavailable     no database URL, and no embedded PostgreSQL either
├── DataError
│   ├── NotSerializable         a value that cannot be stored as JSON
│   └── InvalidData             a value that does not fit the declared type
├── NonRetryableError           raised by applications: a failure that must not be retried
├── StepError
│   ├── StepFailed              a step without further retries
│   │   ├── StepTimedOut        a step whose function did not end within its timeout
│   │   └── ChildFailed         a child run that failed
│   │       ├── ChildCanceled   a child run that was canceled
│   │       └── ChildTimedOut   a child run that did not end in time
│   ├── StepUsageError          a step call that is not allowed, or not possible
│   ├── StepLimitExceeded       more step attempts than a run may have
│   └── NonDeterminismError     a step that is not the recorded one
├── ScheduleError
│   ├── ScheduleExists          create() with the name of another schedule
│   ├── ScheduleNotFound
│   └── ScheduleNotDeletable    delete() of a schedule that the code of workers declares
├── LimitNotFound               no worker has stored a limit of this name
├── WorkerError                 a worker that a program cannot start
└── RunError
    ├── RunFailed               result() of a failed run
    ├── RunCanceled             result() of a canceled run
    ├── RunNotFound
    ├── RunExists               run(id=...) with the id of another workflow's run
    ├── RunNotCancelable        cancel() of a finished run
    ├── RunNotRetryable         retry() of a run that has not failed, or is past its deadline
    ├── RunNotRerunnable        rerun() of a run that has not ended, or has no such step
    ├── RunNotWakeable          wake() of a run that does not wait
    └── ResultTimeout           the run did not end within the timeout of result()

Names follow one rule. A name that ends in ``Error`` says what the error is about: the class has
several causes, or subclasses, and the message tells the cause. Any other name says what happened.
"""

from __future__ import annotations

from typing import Any, ClassVar

from owsuper.stored_error import StoredError

__all__ = [
    "ChildCanceled",
    "ChildFailed",
    "ChildTimedOut",
    "ConfigurationError",
    "DataError",
    "DatabaseError",
    "DatabaseUnreachable",
    "EmbeddedUnavailable",
    "InvalidData",
    "InvalidDuration",
    "InvalidSchemaName",
    "LimitNotFound",
    "MigrationError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotSerializable",
    "OwsuperError",
    "RegistrationError",
    "ResultTimeout",
    "RunCanceled",
    "RunError",
    "RunExists",
    "RunFailed",
    "RunNotCancelable",
    "RunNotFound",
    "RunNotRerunnable",
    "RunNotRetryable",
    "RunNotWakeable",
    "ScheduleError",
    "ScheduleExists",
    "ScheduleNotDeletable",
    "ScheduleNotFound",
    "StepError",
    "StepFailed",
    "StepLimitExceeded",
    "StepTimedOut",
    "StepUsageError",
    "WorkerError",
]


class OwsuperError(Exception):
    """The base of all errors here. Every one of them can be pickled and copied."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args), self.__dict__


class ConfigurationError(OwsuperError):
    """A setting, name, duration or policy cannot be used."""


class InvalidSchemaName(ConfigurationError):
    """A schema name has other than ASCII letters, digits and underscores, or over 63 bytes."""


class InvalidDuration(ConfigurationError):
    """A duration is no timedelta, no number of seconds and no text such as ``"5m"``."""


class RegistrationError(ConfigurationError):
    """Two workflows have one name and version, or no workflow is registered."""


class DatabaseError(OwsuperError):
    """Base of errors of the database. By itself: the server refused a statement or gave up."""


class DatabaseUnreachable(DatabaseError):
    """No server answers at the configured address, or in time, or the server refuses to connect."""


class MigrationError(DatabaseError):
    """The tables are missing or incomplete, or this role or server cannot create them."""


class EmbeddedUnavailable(DatabaseError):
    """No database URL is configured, and the embedded PostgreSQL cannot be used."""


class DataError(OwsuperError):
    """Base of errors about values. ``path`` names the field, for example ``input.items[3]``."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class NotSerializable(DataError):
    """A value cannot be stored as JSON."""


class InvalidData(DataError):
    """A value does not fit the declared type."""


class NonRetryableError(OwsuperError):
    """A failure that must not be retried, whatever the retry policies say.

    Applications raise it, or derive their own errors from it. A step whose function raises it
    fails without a further attempt, and so does a run whose workflow function raises it.
    """


class StepError(OwsuperError):
    """Base of errors about steps."""


class StepFailed(StepError):
    """A step failed, and its retries are used up or do not apply.

    ``step`` is the durable name of the step, ``error`` the stored error of its last attempt.
    In the execution that ran the step, ``__cause__`` is the original exception. On replay it is
    None, because only ``error`` is stored.
    """

    def __init__(self, step: str, error: StoredError) -> None:
        super().__init__(error.message or error.name or "")
        self.step = step
        self.error = error


class StepTimedOut(StepFailed):
    """The function of a step did not end within the step's ``timeout``.

    A retry policy's ``retry_on`` and ``never_retry`` get this error for each such attempt. Steps
    raise it when the last attempt has timed out.
    """


class ChildFailed(StepFailed):
    """A child run failed. ``child_run_id`` is its id, ``error`` its stored error."""

    def __init__(self, step: str, error: StoredError, child_run_id: str) -> None:
        super().__init__(step, error)
        self.child_run_id = child_run_id


class ChildCanceled(ChildFailed):
    """A child run was canceled."""


class ChildTimedOut(ChildFailed):
    """A child run did not end within the timeout of its parent's step. The child run goes on."""


class StepUsageError(StepError):
    """A step was called in the wrong place or under a wrong name, or nobody awaits it."""


class StepLimitExceeded(StepError):
    """A run would record more step attempts than its ``step_limit``; ``count`` is how many.

    The run fails with the error that OpenWorkflow stores then, whose name is
    ``StepLimitExceededError``.
    """

    ADVICE: ClassVar[str] = (
        "Set a higher step_limit= for the workflow, or do parts of the work in child runs."
    )
    """What to do about it; the stored message, which OpenWorkflow shares, does not say it."""

    STORED_NAME: ClassVar[str] = "StepLimitExceededError"

    def __init__(self, limit: int, count: int) -> None:
        super().__init__(
            f"Exceeded the step limit of {limit} attempts (current count: {count}). {self.ADVICE}"
            f" (The run fails with {self.STORED_NAME}, OpenWorkflow's name for this error.)"
        )
        self.limit = limit
        self.count = count


class NonDeterminismError(StepError):
    """The code and the history of a run disagree. The run fails.

    The code calls a step of another kind than the one that is recorded under its name, or waits
    for another child run or signal.

    ``step`` is the durable name. ``recorded`` and ``asked`` are kinds, such as ``"function"`` or
    ``"sleep"``, or describe what is waited for.
    """

    def __init__(self, step: str, recorded: str, asked: str, message: str | None = None) -> None:
        super().__init__(
            message
            or f"Step {step!r} is recorded as a step of kind {recorded!r}, but the code now calls a"
            f" step of kind {asked!r}. The workflow was probably changed while runs of it were"
            " in progress: give the new step another name, or the workflow another version."
        )
        self.step = step
        self.recorded = recorded
        self.asked = asked


class WorkerError(OwsuperError):
    """A worker cannot be started. The message quotes the worker's standard error."""


class RunError(OwsuperError):
    """Base of errors about a run. ``run_id`` is its id."""

    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunFailed(RunError):
    """The run failed. ``error`` is its stored error, with name, message and stack."""

    def __init__(self, message: str, *, run_id: str, error: StoredError) -> None:
        super().__init__(message, run_id=run_id)
        self.error = error


class RunCanceled(RunError):
    """The run was canceled."""


class LimitNotFound(OwsuperError):
    """No worker of this namespace has stored a limit of this name."""


class RunNotFound(RunError):
    """This namespace has no run with this id."""


class RunExists(RunError):
    """A run with the id that the caller chose exists, and its workflow is another one."""


class RunNotCancelable(RunError):
    """The run is completed or failed, so it cannot be canceled."""


class RunNotRetryable(RunError):
    """The run has not failed, or its deadline has passed. ``status`` is the run's status."""

    def __init__(self, message: str, *, run_id: str, status: str) -> None:
        super().__init__(message, run_id=run_id)
        self.status = status


class RunNotRerunnable(RunError):
    """The run has not ended, or has no such step. ``status`` is the run's status."""

    def __init__(self, message: str, *, run_id: str, status: str) -> None:
        super().__init__(message, run_id=run_id)
        self.status = status


class RunNotWakeable(RunError):
    """The run does not wait for anything that can be ended. ``status`` is the run's status."""

    def __init__(self, message: str, *, run_id: str, status: str) -> None:
        super().__init__(message, run_id=run_id)
        self.status = status


class ResultTimeout(RunError, TimeoutError):
    """The run did not end in time. The run itself is not affected."""


class ScheduleError(OwsuperError):
    """Base of errors about a schedule. ``name`` is its name."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name


class ScheduleExists(ScheduleError):
    """Another schedule has this name."""


class ScheduleNotFound(ScheduleError):
    """This namespace has no schedule of this name."""


class ScheduleNotDeletable(ScheduleError):
    """The code of workers declares the schedule, so they would store it again."""


def _rebuild(kind: type[OwsuperError], args: tuple[Any, ...]) -> OwsuperError:
    # The constructor is not called, since its parameters may differ from ``args``.
    error = kind.__new__(kind, *args)
    error.args = args  # a subclass of OSError, as TimeoutError is, sets them in its constructor
    return error
