"""The annotations of functions, some of which may name what is not defined, or not yet.

From Python 3.14 on, annotations are evaluated when they are read, all at once, so that a name that
only type checkers see would hide all others. Before, ``from __future__ import annotations`` makes
them texts, which are evaluated here one by one. Both give the same types.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

if sys.version_info >= (3, 14):
    import annotationlib

    def signature(function: Callable[..., Any]) -> inspect.Signature:
        """Return the signature, without evaluating annotations."""
        return inspect.signature(function, annotation_format=annotationlib.Format.STRING)

    def _unevaluated(function: Callable[..., Any]) -> Mapping[str, Any]:
        try:
            return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
        except Exception:  # an expression in an annotation raises
            return annotationlib.get_annotations(function, format=annotationlib.Format.STRING)
else:

    def signature(function: Callable[..., Any]) -> inspect.Signature:
        """Return the signature, without evaluating annotations."""
        return inspect.signature(function)

    def _unevaluated(function: Callable[..., Any]) -> Mapping[str, Any]:
        return function.__annotations__


def annotations_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotations, by name of the parameter and ``return``.

    They may be texts and forward references; see ``evaluate``.
    """
    any_callable: Any = function  # a class or an object may have none
    try:
        return any_callable.__annotations__ or {}
    except AttributeError:
        is_function = isinstance(function, (FunctionType, MethodType))
        return _unevaluated(function) if is_function else {}
    except Exception:  # Python 3.14 raises what the evaluation raises, as a rule NameError
        return _unevaluated(function)


def evaluate(function: Callable[..., Any], name: str, *, include_extras: bool = False) -> Any:
    """Return one annotation as a type; the others may be for type checkers alone.

    ``include_extras`` keeps ``Annotated``. Raises KeyError without such an annotation, and
    whatever the evaluation raises, as a rule NameError.
    """
    holder = SimpleNamespace(__annotations__={name: annotations_of(function)[name]})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    return typing.get_type_hints(holder, names, include_extras=include_extras)[name]
