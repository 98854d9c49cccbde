"""What a step waits for: a run of a workflow, or a signal; as recorded, and as the code asks now.

The context of a ``workflow`` step names the workflow, its version and a digest of the input in a
member of its own, ``child``, which OpenWorkflow for TypeScript ignores. Rows of OpenWorkflow have
no such member, and neither have older rows: nothing is compared with them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from owsuper.core.model import RecordedAttempt, StepKind

_DIGEST_LENGTH: Final = 16  # hexadecimal digits: 64 bits, for at most a million steps of one run


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a step waits for. ``name`` is that of a workflow, with ``version``, or of a signal.

    ``digest`` is that of the input of a child run; None if it is not known. ``formerly`` is the
    name before the step was renamed, ``compatible`` the older versions of the workflow whose runs
    it may continue.
    """

    kind: StepKind
    name: str
    version: str | None = None
    digest: str | None = None
    formerly: str | None = field(default=None, compare=False)
    compatible: frozenset[str | None] = field(default=frozenset(), compare=False)

    def __str__(self) -> str:
        if self.kind == StepKind.SIGNAL_WAIT:
            return f'signal "{self.name}"'
        version = "" if self.version is None else f" (version: {self.version})"
        return f'workflow "{self.name}"{version} with input {self.digest or "unknown"}'

    def as_context(self) -> dict[str, Any]:
        """Return the members of a wait's context that hold this purpose."""
        if self.kind == StepKind.SIGNAL_WAIT:
            return {"signal": self.name}
        child = {"workflow": self.name, "version": self.version, "input": self.digest}
        return {"child": {name: value for name, value in child.items() if value is not None}}

    def is_target(self, other: Purpose) -> bool:
        """Whether ``other`` is for the same workflow and a fitting version, or the same signal."""
        is_named = self.name in (other.name, other.formerly)
        fits = self.version == other.version or self.version in other.compatible
        return is_named and fits and self.kind == other.kind

    def is_same(self, other: Purpose) -> bool:
        """Whether ``other`` is the same, as far as both are known."""
        known = self.digest is not None and other.digest is not None
        return self.is_target(other) and (not known or self.digest == other.digest)


def digest(input_json: bytes | None) -> str:
    """Return a digest of an input, which does not depend on the order of the keys of objects."""
    value = None if input_json is None else orjson.loads(input_json)
    in_order = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(in_order).hexdigest()[:_DIGEST_LENGTH]


def recorded_purpose(attempt: RecordedAttempt) -> Purpose | None:
    """Return the purpose that a recorded attempt names; None if it names none."""
    context = attempt.context if isinstance(attempt.context, dict) else {}
    if attempt.kind == StepKind.SIGNAL_WAIT:
        signal = context.get("signal")
        return Purpose(StepKind.SIGNAL_WAIT, signal) if isinstance(signal, str) else None
    child = context.get("child")
    if attempt.kind != StepKind.WORKFLOW or not isinstance(child, dict):
        return None
    name, version, stored = (child.get(member) for member in ("workflow", "version", "input"))
    if not isinstance(name, str):
        return None
    return Purpose(
        StepKind.WORKFLOW,
        name,
        version if isinstance(version, str) else None,
        stored if isinstance(stored, str) else None,
    )
