"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How serious a finding is. A note says that something could not be checked."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What the check of a ``subject`` has found, and how to ``mend`` it."""

    level: Level
    subject: str
    message: str
    mend: str | None = None


def ok(subject: str, message: str) -> CheckResult:
    """Return a finding that all is well."""
    return CheckResult(Level.OK, subject, message)


def note(subject: str, message: str, mend: str | None = None) -> CheckResult:
    """Return a finding that something could not be checked."""
    return CheckResult(Level.NOTE, subject, message, mend)


def warning(subject: str, message: str, mend: str) -> CheckResult:
    """Return a finding that something costs time or safety."""
    return CheckResult(Level.WARNING, subject, message, mend)


def problem(subject: str, message: str, mend: str) -> CheckResult:
    """Return a finding that something does not work."""
    return CheckResult(Level.PROBLEM, subject, message, mend)
