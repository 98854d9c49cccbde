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
    """A source file, as the ``read`` step found it. ``path`` is relative to the library."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Analysis:
    """``seconds`` is the processor time of the measurement."""

    metrics: Metrics
    seconds: float


@dataclass(frozen=True)
class Summary:
    """The figures of one module for the report."""

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
    """Audit one file. After a crash, only the step in flight runs again."""
    file = step.run("read", read, path)
    analysis = step.run("analyze", analyze, file)
    return step.run("summarize", summarize, file, analysis)


# --- the steps: plain functions whose values fit JSON -----------------------------------------


def read(path: str) -> File:
    """Identify the content. The text stays on disk, so the database does not store it again."""
    with journal.execution("read", path):
        content = (audit.library() / path).read_bytes()
        return File(path, len(content), hashlib.sha256(content).hexdigest())


def analyze(file: File) -> Analysis:
    """Parse and measure the file. This step takes most of the time."""
    with journal.execution("analyze", file.path):
        content = (audit.library() / file.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise RuntimeError(f"{file.path} has changed during the audit")
        began = time.thread_time()
        metrics = audit.measure(content)
        return Analysis(metrics, time.thread_time() - began)


def summarize(file: File, analysis: Analysis) -> Summary:
    """Keep the three most complex functions, and count all functions."""
    with journal.execution("summarize", file.path):
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
