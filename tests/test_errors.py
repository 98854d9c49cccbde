"""Every error can be pickled, as for a process pool, and copied."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import owsuper
from owsuper import StoredError, errors

STORED = StoredError("card declined", name="CardError", stack="Traceback ...")
EXCEPTIONS = [getattr(errors, name) for name in errors.__all__]


class CardError(owsuper.NonRetryableError):
    """An application's own error."""

    def __init__(self, card: str, *, limit: int) -> None:
        super().__init__(f"{card} is over {limit}")
        self.limit = limit


# How to make an error: by its class, or else by its nearest base class.
_MAKERS: dict[type[BaseException], Callable[..., BaseException]] = {
    errors.ChildFailed: lambda kind: kind("charge", STORED, "run-2"),
    errors.StepFailed: lambda kind: kind("charge", STORED),
    errors.StepLimitExceeded: lambda kind: kind(1000, 1001),
    errors.NonDeterminismError: lambda kind: kind("charge", "function", "sleep"),
    errors.RunFailed: lambda kind: kind("it failed", run_id="run-1", error=STORED),
    errors.RunExists: lambda kind: kind("it exists", run_id="run-1"),
    errors.RunNotRetryable: lambda kind: kind("it runs", run_id="run-1", status="running"),
    errors.RunNotRerunnable: lambda kind: kind("it runs", run_id="run-1", status="running"),
    errors.RunNotWakeable: lambda kind: kind("it runs", run_id="run-1", status="running"),
    errors.RunError: lambda kind: kind("no such run", run_id="run-1"),
    errors.ScheduleError: lambda kind: kind("no such schedule", name="nightly"),
    errors.DataError: lambda kind: kind("cannot store it", path="result.items[0]"),
    CardError: lambda kind: kind("visa", limit=5),
    errors.OwsuperError: lambda kind: kind("a message"),
}


def _made(kind: type[BaseException]) -> BaseException:
    error = next(_MAKERS[base] for base in kind.__mro__ if base in _MAKERS)(kind)
    error.add_note("in the worker")
    return error


def _raise(kind: type[BaseException]) -> None:
    raise _made(kind)


def test_there_are_exceptions_to_test() -> None:
    assert errors.RunFailed in EXCEPTIONS
    assert len(EXCEPTIONS) > 20


@pytest.mark.parametrize("kind", [*EXCEPTIONS, CardError])
@pytest.mark.parametrize(
    "again",
    [
        *(lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in (2, 4, 5)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=["pickle-2", "pickle-4", "pickle-5", "copy", "deepcopy"],
)
def test_a_copy_equals_the_original(
    kind: type[BaseException], again: Callable[[BaseException], BaseException]
) -> None:
    error = _made(kind)
    back = again(error)
    assert back is not error
    assert type(back) is kind
    assert (str(back), repr(back), back.args) == (str(error), repr(error), error.args)
    assert vars(back) == vars(error)


def test_an_error_raised_in_a_process_pool_arrives() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(errors.RunFailed) as caught,
    ):
        pool.submit(_raise, errors.RunFailed).result(timeout=60)
    assert (caught.value.run_id, caught.value.error) == ("run-1", STORED)
