"""The bodies of requests and responses: how OpenAPI describes them, and how they are checked."""

from __future__ import annotations

import math
import re
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
import orjson
from fastapi.exceptions import HTTPException, RequestValidationError
from pydantic import BaseModel, PlainValidator, TypeAdapter

from owsuper.core import codec
from owsuper.errors import DataError, InvalidData

T = TypeVar("T")

_REFUSALS: Final = (
    *(msgspec.ValidationError, ValueError, AssertionError),
    *(orjson.JSONEncodeError, RecursionError),  # what no JSON is, or JSON too deep
)
_STEP: Final = re.compile(r"\[(\d+)\]|\.?([^.\[]+)")


class ErrorBody(BaseModel):
    """Why a run has failed."""

    name: str
    message: str


class RunBody(BaseModel, Generic[T]):
    """A run, as it is now."""

    id: str
    workflow: str
    status: Literal["pending", "running", "completed", "failed", "canceled"]
    result: T | None
    error: ErrorBody | None


class StartedBody(BaseModel):
    """A run that was started."""

    id: str
    workflow: str


def described(type_: Any) -> Any:
    """Return ``type_``; or Any if it is a type that OpenAPI cannot describe."""
    try:
        TypeAdapter(type_).json_schema()
    except Exception:  # a class of msgspec or attrs, say; pydantic's own errors have no one base
        return Any
    return type_


def described_as(type_: Any) -> PlainValidator:
    """Return metadata of an annotation that OpenAPI describes as ``type_`` and that checks nothing.

    The workflow's own rules check the body, see ``checked``.
    """
    return PlainValidator(lambda value: value, json_schema_input_type=described(type_))


def is_optional(type_: Any) -> bool:
    """Return whether null is a value of ``type_``."""
    try:
        codec.convert(None, type_, path="")
    except DataError:
        return False
    return True


def checked(value: Any, type_: Any, name: str) -> Any:
    """Return the JSON of a body as ``type_``. Raises RequestValidationError, for the answer 422.

    Raises HTTPException for a body that was not sent as JSON. Another error in code of the type, as
    in a validator, is raised as it is: callers must not read its message.
    """
    if isinstance(value, bytes):
        raise HTTPException(415, 'Send JSON, with the header "Content-Type: application/json".')
    try:
        _check_numbers(value, name)
        return codec.convert(value, type_, path=name)
    except DataError as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, _REFUSALS):
            raise error.__cause__ from None
        raise invalid(error) from None


def _check_numbers(value: Any, path: str) -> None:
    """Raise InvalidData for NaN and infinity: Python reads them, and they would become null."""
    left = [(path, value)]
    while left:
        place, each = left.pop()
        if isinstance(each, float) and not math.isfinite(each):
            raise InvalidData(f"{place}: JSON has no {each}", path=place)
        if isinstance(each, dict):
            left += [(f"{place}.{key}", member) for key, member in each.items()]
        elif isinstance(each, list):
            left += [(f"{place}[{number}]", member) for number, member in enumerate(each)]


def invalid(error: DataError) -> RequestValidationError:
    """Return FastAPI's error for a body that does not fit; it names the field at fault."""
    _, *steps = (int(at) if at else name for at, name in _STEP.findall(error.path) or [("", "")])
    message = str(error).removeprefix(f"{error.path}: ")
    # Without the input: a NaN in it could not be sent back.
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", *steps), "msg": message}]
    )
