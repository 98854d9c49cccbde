"""The workflows whose names and types the dashboard knows.

The command imports the application in a process of its own, which ends afterwards, at the start
and for each value that is checked: no code of the application runs in the dashboard's process. A
dashboard that is part of a program knows the workflows of that program.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from owsuper.errors import OwsuperError
from owsuper.workflow import description
from owsuper.workflow.definition import Workflow
from owsuper.workflow.registry import Registry

_PROGRAM: Final = "owsuper.child.describe"
_LOAD_TIMEOUT: Final = 120.0  # seconds; an import may be slow
_CHECK_TIMEOUT: Final = 30.0  # seconds; a person waits
_MOST_ANSWER: Final = 10_000_000  # bytes
_MOST_MESSAGE: Final = 10_000  # characters of standard error


class ApplicationFailed(OwsuperError):
    """The application cannot be imported. ``traceback`` begins in its code, or is None."""

    def __init__(self, message: str, traceback: str | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a value does not fit: the path of the field at fault, such as ``input.to[0]``."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class KnownWorkflow:
    """A workflow of the application.

    ``input`` is the JSON Schema of its input; None if anything fits, or none is known. ``signals``
    are the patterns of names with the schemas of the data.
    """

    name: str
    version: str | None
    takes_input: bool
    input: Mapping[str, Any] | None
    documentation: str
    signals: tuple[tuple[str, Mapping[str, Any] | None], ...]

    def schema_of_signal(self, signal: str) -> Mapping[str, Any] | None:
        """Return the schema of the data of a signal, or None if it is not known."""
        for pattern, schema in self.signals:
            if re.fullmatch(pattern, signal, re.DOTALL):
                return schema
        return None


class KnownWorkflows(Protocol):
    """The workflows whose types are known."""

    @property
    def workflows(self) -> Sequence[KnownWorkflow]:
        """All of them, in the order of their definition."""
        ...

    def get(self, name: str, version: str | None) -> KnownWorkflow | None:
        """Return a workflow, or None if it is not known."""
        ...

    def refusal(
        self, name: str, version: str | None, value: Any, *, signal: str | None = None
    ) -> Refusal | None:
        """Return why a value is no input of the workflow, or no data of a signal to it, or None.

        It blocks. Raises ApplicationFailed if the application cannot be imported any more.
        """
        ...


class Registered:
    """The workflows of the program of which the dashboard is a part: its code is here anyway.

    They are described when a page asks for them, so a program may define more of them later.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._described: dict[Workflow[Any, Any], KnownWorkflow] = {}

    @property
    def workflows(self) -> Sequence[KnownWorkflow]:
        """All of them, in the order of their definition."""
        return [self._describe(each) for each in self._registry]

    def get(self, name: str, version: str | None) -> KnownWorkflow | None:
        """Return a workflow, or the one that is compatible with this version; or None."""
        found = self._registry.get(name, version)
        return None if found is None else self._describe(found)

    def refusal(
        self, name: str, version: str | None, value: Any, *, signal: str | None = None
    ) -> Refusal | None:
        """Return why a value does not fit, or None; see ``KnownWorkflows``."""
        return _refusal(description.refusal(self._registry, name, version, value, signal))

    def _describe(self, workflow: Workflow[Any, Any]) -> KnownWorkflow:
        if workflow not in self._described:
            self._described[workflow] = _known(description.describe(workflow))
        return self._described[workflow]


class Imported:
    """The workflows of ``modules``, which other processes import, at the start and for each check.

    ``settings`` are those of the application's OpenWorkflow; each may be None. It blocks. Raises
    ApplicationFailed.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = list(modules)
        answer = _ask({"modules": self._modules}, _LOAD_TIMEOUT)
        self.workflows: Sequence[KnownWorkflow] = tuple(map(_known, answer["workflows"]))
        self._by_key = {(each.name, each.version): each for each in self.workflows}
        self.settings: Mapping[str, str | None] = answer["settings"]

    def get(self, name: str, version: str | None) -> KnownWorkflow | None:
        """Return a workflow, or None if it is not known."""
        return self._by_key.get((name, version))

    def refusal(
        self, name: str, version: str | None, value: Any, *, signal: str | None = None
    ) -> Refusal | None:
        """Return why a value does not fit, or None; see ``KnownWorkflows``."""
        asked = {"workflow": name, "version": version, "value": value, "signal": signal}
        answer = _ask({"modules": self._modules, "check": asked}, _CHECK_TIMEOUT)
        return _refusal(answer["refusal"])


def _refusal(described: Mapping[str, str] | None) -> Refusal | None:
    return None if described is None else Refusal(described["path"], described["message"])


def _known(described: Mapping[str, Any]) -> KnownWorkflow:
    return KnownWorkflow(
        name=described["name"],
        version=described["version"],
        takes_input=described["takes_input"],
        input=described["input"],
        documentation=described["documentation"],
        signals=tuple((each["pattern"], each["data"]) for each in described["signals"]),
    )


def _ask(request: Mapping[str, Any], timeout: float) -> Mapping[str, Any]:
    """Return the answer of a new process. Raises ApplicationFailed."""
    named = ", ".join(request["modules"])
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=answers,
            stderr=errors,
            start_new_session=True,  # a Ctrl-C is for the dashboard, which then ends this process
        )
        try:
            process.communicate(orjson.dumps(request), timeout)
        except subprocess.TimeoutExpired:
            raise ApplicationFailed(
                f"{named}: the import takes longer than {timeout:g} s. Does a module start the"
                " program, or wait for something, when it is imported?"
            ) from None
        finally:
            _end(process)
        if os.fstat(answers.fileno()).st_size > _MOST_ANSWER:
            raise ApplicationFailed(f"{named}: the types of the workflows are too large to show.")
        answers.seek(0)
        try:
            answer: dict[str, Any] = orjson.loads(answers.read())
        except orjson.JSONDecodeError:
            size = errors.seek(0, os.SEEK_END)
            errors.seek(max(0, size - _MOST_MESSAGE))
            raise ApplicationFailed(
                f"{named}: the process that imports it has ended with code {process.returncode}.",
                errors.read().decode(errors="replace"),
            ) from None
    if (failure := answer.get("failure")) is not None:
        raise ApplicationFailed(failure["message"], failure["traceback"])
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
