"""The signature of a workflow function: its parameters, sync or async, its types."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from owsuper.core.annotations import annotations_of, evaluate
from owsuper.core.annotations import signature as signature_of
from owsuper.errors import ConfigurationError
from owsuper.step import AsyncStep, Step

_ADVICE = "Write it as def f(step: Step, input: ...) or async def f(step: AsyncStep, input: ...)."
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class UnresolvedAnnotation(ConfigurationError):
    """An annotation uses a name that its module does not define, or not yet."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The parts of a workflow function's signature.

    ``input_name`` is None for a function that takes the step alone.
    """

    function: Callable[..., Any]
    is_async: bool
    step_name: str
    input_name: str | None

    def types(self) -> tuple[Any, Any]:
        """Return the annotated types of the input and the result; Any without an annotation.

        Raises UnresolvedAnnotation.
        """
        input_type = self._annotation(self.input_name) if self.input_name is not None else None
        return input_type, self._annotation("return")

    def _annotation(self, name: str) -> Any:
        """Evaluate one annotation. The others may be for type checkers alone."""
        try:
            if name not in annotations_of(self.function):
                return Any
            return evaluate(self.function, name, include_extras=True)
        except Exception as error:
            what = "its return type" if name == "return" else f"the type of {name!r}"
            raise UnresolvedAnnotation(
                f"{what} cannot be evaluated: {type(error).__name__}: {error}. Its module must"
                " define or import it at top level, and not only under TYPE_CHECKING."
            ) from None


def read(fn: Callable[..., Any]) -> Signature:
    """Return the signature of ``fn``. Raises ConfigurationError if it cannot be a workflow."""
    if not isinstance(fn, FunctionType):
        raise ConfigurationError(f"a workflow must be a function, not {_described(fn)}. {_ADVICE}")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise ConfigurationError(
            "the function is a generator. Return the result instead of yielding"
        )
    positional = []
    for parameter in signature_of(fn).parameters.values():
        if parameter.kind in _POSITIONAL:
            positional.append(parameter)
        elif parameter.kind is not inspect.Parameter.KEYWORD_ONLY or _required(parameter):
            raise ConfigurationError(f"owsuper passes no value for {parameter}. {_ADVICE}")
    if len(positional) not in (1, 2):
        count = len(positional) or "no"
        raise ConfigurationError(f"the function has {count} positional parameters. {_ADVICE}")
    if len(positional) == 2 and positional[1].default not in (inspect.Parameter.empty, None):
        raise ConfigurationError(
            f"the default of {positional[1].name!r} would not be stored with the runs. Give"
            " defaults to the fields of its type instead, or accept None"
        )
    names = [parameter.name for parameter in positional] + [None]
    signature = Signature(
        function=fn,
        is_async=inspect.iscoroutinefunction(fn),
        step_name=positional[0].name,
        input_name=names[1],
    )
    _check_sync_or_async(signature)
    return signature


def _check_sync_or_async(signature: Signature) -> None:
    """Raise if an ``async def`` function takes a Step, or a ``def`` function an AsyncStep."""
    try:
        step_type = signature._annotation(signature.step_name)
    except UnresolvedAnnotation:
        return
    if signature.is_async and step_type is Step:
        raise ConfigurationError(f"an async def workflow takes an AsyncStep, not a Step. {_ADVICE}")
    if not signature.is_async and step_type is AsyncStep:
        raise ConfigurationError(f"a def workflow takes a Step, not an AsyncStep. {_ADVICE}")


def _required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty


def _described(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (staticmethod, classmethod)):
        return f"a {type(value).__name__}"
    return f"{type(value).__name__} {value!r:.60}"
