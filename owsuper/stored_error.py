"""An error as the database stores it. ``RunFailed`` and ``StepFailed`` carry one."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any, Final

_MAX_CHARACTERS: Final = 16_384
"""The longest message and the longest traceback. The middle of a longer text is left out."""


class EngineError(Exception):
    """What the engine met on its own account: no database, thread, memory or descriptor.

    It is unrelated to what user code raises. No run and no step fails because of it: the run is
    given back. So it cannot be stored.
    """


@dataclass(frozen=True, slots=True)
class StoredError:
    """An error as stored in the ``error`` columns.

    ``name`` is the exception's class, ``stack`` its traceback; either may be None. ``final``
    marks a step failure that no retry policy may repeat, for example a result that cannot be
    stored. It is an additional member of the JSON object, which other implementations ignore.
    ``retry_at`` ends the pause before the retry of a step earlier; another such member. It is set
    by who wakes the run (ISO 8601). ``no_retry_reason`` goes to the log and is not stored.
    """

    message: str
    name: str | None = None
    stack: str | None = None
    final: bool = False
    retry_at: str | None = None
    no_retry_reason: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_exception(
        cls, exc: BaseException, *, final: bool = False, no_retry_reason: str | None = None
    ) -> StoredError:
        """Return the name, message and traceback of ``exc``, fit for jsonb.

        Raises TypeError for an EngineError, and nothing else.
        """
        if isinstance(exc, EngineError):
            raise TypeError(
                f"{type(exc).__name__} is an error of the engine. Give the run back instead of"
                " storing the error."
            ) from exc
        try:
            message = "".join((str(exc),))  # plain text, should str() return a subclass
        except BaseException as broken:  # __str__ is user code, which may raise anything
            message = f"(no message: __str__ raised {type(broken).__name__})"
        try:
            stack = "".join(traceback.format_exception(exc))
        except BaseException:
            stack = ""
        return cls(
            message=_storable(message),
            name=_storable(_class_name(exc)),
            stack=_storable(stack) or None,
            final=final,
            no_retry_reason=no_retry_reason,
        )

    @classmethod
    def from_json(cls, value: Any) -> StoredError:
        """Return the error for a JSON value that any program has stored. Never raises."""
        if not isinstance(value, dict):
            return cls(message="" if value is None else str(value))
        name, stack = value.get("name"), value.get("stack")
        message, retry_at = value.get("message"), value.get("retryAt")
        return cls(
            message=message if isinstance(message, str) else "",
            name=name if isinstance(name, str) and name else None,
            stack=stack if isinstance(stack, str) and stack else None,
            final=value.get("final") is True,
            retry_at=retry_at if isinstance(retry_at, str) else None,
        )

    def summary(self) -> str:
        """Name and message on one line of at most 200 characters, for a log."""
        text = " ".join(self.message.split())
        text = f"{self.name}: {text}" if self.name else text
        return text if len(text) <= 200 else f"{text[:197]}..."

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object to store, which jsonb takes whatever the texts hold."""
        value: dict[str, Any] = {"message": _escaped(self.message)}
        if self.name is not None:
            value["name"] = _escaped(self.name)
        if self.stack is not None:
            value["stack"] = _escaped(self.stack)
        if self.final:
            value["final"] = True
        if self.retry_at is not None:
            value["retryAt"] = _escaped(self.retry_at)
        return value


def _class_name(exc: BaseException) -> str:
    try:
        return str(type(exc).__name__)
    except BaseException:  # a metaclass is user code
        return "Exception"


def _storable(text: str) -> str:
    """``text`` escaped, and then shortened."""
    text = _escaped(text)
    if excess := max(0, len(text) - _MAX_CHARACTERS):
        half = _MAX_CHARACTERS // 2
        text = f"{text[:half]}\n... {excess} characters left out ...\n{text[-half:]}"
    return text


def _escaped(text: str) -> str:
    """``text`` with escapes for what jsonb refuses: U+0000 and lone surrogates."""
    return text.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode("utf-8")
