"""What the code of a workflow says about its input and its signals, as JSON Schema.

For forms of people. What the code does not say is left out: a form then takes any JSON.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson

from owsuper.core import codec
from owsuper.core.codec.pydantic_models import adapter, is_pydantic
from owsuper.errors import DataError
from owsuper.workflow.definition import Workflow
from owsuper.workflow.input import encode_input
from owsuper.workflow.registry import Registry

_LARGEST: Final = 100_000  # bytes of a schema; a form of a larger one would help nobody
_MOST_DOCUMENTATION: Final = 2000  # characters


@dataclass(frozen=True, slots=True)
class TypedSignal:
    """A signal that the code of a workflow waits for. ``pattern`` matches its whole name."""

    pattern: str
    type: Any


def describe(workflow: Workflow[Any, Any]) -> dict[str, Any]:
    """Return the description of a workflow, as JSON."""
    return {
        "name": workflow.name,
        "version": workflow.version,
        "takes_input": workflow.takes_input,
        "input": schema_of(workflow.input_type) if workflow.takes_input else None,
        "documentation": (inspect.getdoc(workflow.fn) or "")[:_MOST_DOCUMENTATION],
        "signals": [
            {"pattern": each.pattern, "data": schema_of(each.type)}
            for each in awaited_signals(workflow)
        ],
    }


def refusal(
    registry: Registry, workflow: str, version: str | None, value: Any, signal: str | None = None
) -> dict[str, str] | None:
    """Return the path and the reason if a value does not fit the type; None if it does.

    It is the input of a run, or the data of a ``signal``. Any data fits a signal whose type the
    code does not say.
    """
    found = registry.get(workflow, version)
    if found is None:
        return {"path": "", "message": "The modules do not define this workflow in this version."}
    try:
        if signal is None:
            encode_input(found, _converted(found, value), "input")
        else:
            codec.convert(value, _type_of_signal(found, signal), path="data")
    except DataError as error:
        return {"path": error.path, "message": str(error)}
    return None


def _converted(workflow: Workflow[Any, Any], value: Any) -> Any:
    if not workflow.takes_input:
        return value
    return codec.convert(value, workflow.input_type, path="input")


def _type_of_signal(workflow: Workflow[Any, Any], signal: str) -> Any:
    for each in awaited_signals(workflow):
        if re.fullmatch(each.pattern, signal, re.DOTALL):
            return each.type
    return None


def schema_of(type_: Any) -> dict[str, Any] | None:
    """Return the JSON Schema of a type; None if it has none, is too large, or anything fits."""
    if type_ in (None, Any, object):
        return None
    try:
        schema = adapter(type_).json_schema() if is_pydantic(type_) else _plain_schema(type_)
        return schema if len(orjson.dumps(schema)) <= _LARGEST else None
    except Exception:  # code of the application may raise anything; the form is for JSON then
        return None


def _plain_schema(type_: Any) -> dict[str, Any]:
    try:
        return msgspec.json.schema(type_)
    except Exception:  # a type that pydantic alone knows
        if "pydantic" not in sys.modules:
            raise
        schema: dict[str, Any] = adapter(type_).json_schema()
        return schema


def awaited_signals(workflow: Workflow[Any, Any]) -> list[TypedSignal]:
    """Return the signals that the source of the function waits for; Any is the type of some.

    A name may be written in the call, or be an f-string whose other parts are anything. A name that
    is a variable may be any other, if the function has one such call.
    """
    try:
        source = ast.parse(textwrap.dedent(inspect.getsource(workflow.fn)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    known: list[TypedSignal] = []
    unknown: list[TypedSignal] = []
    for call in ast.walk(source):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        if call.func.attr != "wait_for_signal":
            continue
        given = {each.arg: each.value for each in call.keywords}
        pattern = _pattern(call.args[0] if call.args else given.get("signal"))
        found = TypedSignal(pattern or ".*", _type_of(given.get("type"), workflow))
        (unknown if pattern is None else known).append(found)
    return known + (unknown if len(unknown) == 1 else [])


def _type_of(expression: ast.expr | None, workflow: Workflow[Any, Any]) -> Any:
    if expression is None:
        return Any
    try:
        code = compile(ast.Expression(expression), "<type of a signal>", "eval")
        return eval(code, workflow.fn.__globals__)
    except Exception:  # the expression may need a variable of the function
        return Any


def _pattern(name: ast.expr | None) -> str | None:
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        return re.escape(name.value)
    if not isinstance(name, ast.JoinedStr):
        return None
    texts = [""]  # between what is not known
    for part in name.values:
        if isinstance(part, ast.Constant):
            texts[-1] += str(part.value)
        else:
            texts.append("")
    first, *rest = map(re.escape, texts)
    if not rest:
        return first
    *middle, last = rest
    # Each text at the first place where it stands, without another try (?>): names come from
    # people, and the tries would be as many as a power of their length.
    return f"{first}{''.join(f'(?>.*?{text})' for text in middle if text)}.*{last}"
