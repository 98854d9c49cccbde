"""The application: one run for each source file, in three steps."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from examples.library_audit import audit, journal
from examples.library_audit.audit import Function, Metrics
from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()


@dataclass(frozen=True)
class File:
    """A source file as it was when it was read. ``path`` is relative to the library."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Analysis:
    """``seconds`` is how much processor time it took."""

    metrics: Metrics
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What the report needs to know of a module."""

    file: File
    lines: int
    code: int
    comments: int
    classes: int
    functions: int
    most_complex: list[Function]
    imports: list[str]
    seconds: float
    error: str | None


@ow.workflow("audit-module")
def audit_module(step: Step, path: str) -> Summary:
    """Audit one file. Each step is remembered: after a crash, only the one in flight repeats."""
    file = step.run("read", read, path)
    analysis = step.run("analyse", analyse, file)
    return step.run("summarise", summarise, file, analysis)


# --- the steps: plain functions, of values that fit JSON --------------------------------------


def read(path: str) -> File:
    """Identify the content. The text itself stays on disk: it need not be stored twice."""
    with journal.execution("read", path):
        content = (audit.library() / path).read_bytes()
        return File(path, len(content), hashlib.sha256(content).hexdigest())


def analyse(file: File) -> Analysis:
    """Parse and measure: this is where the time goes."""
    with journal.execution("analyse", file.path):
        content = (audit.library() / file.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise RuntimeError(f"{file.path} was changed while it was audited")
        began = time.thread_time()
        metrics = audit.measure(content)
        return Analysis(metrics, time.thread_time() - began)


def summarise(file: File, analysis: Analysis) -> Summary:
    """Keep the three most complex functions; count the others."""
    with journal.execution("summarise", file.path):
        metrics = analysis.metrics
        by_complexity = sorted(metrics.functions, key=lambda each: each.complexity, reverse=True)
        return Summary(
            file=file,
            lines=metrics.lines,
            code=metrics.code,
            comments=metrics.comments,
            classes=metrics.classes,
            functions=len(metrics.functions),
            most_complex=by_complexity[:3],
            imports=metrics.imports,
            seconds=analysis.seconds,
            error=metrics.error,
        )
