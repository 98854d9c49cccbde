"""Patches: which branch of changed code a run takes, as a step attempt records it.

The attempt is a completed function step with the answer as its output. Its context says what it is;
other implementations ignore it.
"""

from __future__ import annotations

from typing import Any, Final

from owsuper.core.model import RecordedAttempt

PATCH_CONTEXT: Final[dict[str, Any]] = {"kind": "patch"}
_PREFIX: Final = "patched:"


def patch_key(name: str) -> str:
    """Return the durable name of the step that records the patch ``name``."""
    return f"{_PREFIX}{name}"


def is_patch(attempt: RecordedAttempt) -> bool:
    """Whether ``attempt`` records the answer of a patch."""
    return bool(attempt.context == PATCH_CONTEXT)


def is_new_branch(attempt: RecordedAttempt) -> bool:
    """Whether ``attempt`` records that the run takes the new branch of a patch.

    Code without the patch has that branch alone, so it fits, too.
    """
    return is_patch(attempt) and bool(attempt.output)
