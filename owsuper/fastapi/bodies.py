"""The bodies of requests and responses: how OpenAPI describes them, and how they are checked."""

from __future__ import annotations

import re
from typing import Any, Generic, Literal, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, PlainValidator, TypeAdapter

from owsuper.core import codec
from owsuper.errors import DataError

T = TypeVar("T")

_STEP = re.compile(r"\[(\d+)\]|\.?([^.\[]+)")


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
    """Return the JSON of a body as ``type_``. Raises RequestValidationError, for the answer 422."""
    try:
        return codec.convert(value, type_, path=name)
    except DataError as error:
        raise invalid(error) from None


def invalid(error: DataError) -> RequestValidationError:
    """Return FastAPI's error for a body that does not fit; it names the field at fault."""
    _, *steps = (int(at) if at else name for at, name in _STEP.findall(error.path) or [("", "")])
    message = str(error).removeprefix(f"{error.path}: ")
    # Without the input: a NaN in it could not be sent back.
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", *steps), "msg": message}]
    )
