"""The application as the dashboard knows it: names and types of its workflows.

The application is imported in a process of its own, which ends afterwards, at the start and for
each value that is checked. So no code of the application runs in the dashboard's process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from owsuper.errors import OwsuperError

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


class KnownApplication:
    """The workflows of ``modules``. Without modules, none is known."""

    def __init__(self, modules: Sequence[str], workflows: Sequence[KnownWorkflow] = ()) -> None:
        self._modules = list(modules)
        self.workflows = tuple(workflows)
        self._by_key = {(each.name, each.version): each for each in workflows}

    def get(self, name: str, version: str | None) -> KnownWorkflow | None:
        """Return a workflow, or None if it is not known."""
        return self._by_key.get((name, version))

    def check_input(self, name: str, version: str | None, value: Any) -> Refusal | None:
        """Return why the workflow would refuse this input, or None. It blocks.

        Raises ApplicationFailed if the application cannot be imported any more.
        """
        return self._check({"workflow": name, "version": version, "value": value})

    def check_signal(
        self, name: str, version: str | None, signal: str, value: Any
    ) -> Refusal | None:
        """Return why the workflow would refuse this data of a signal, or None; as above."""
        asked = {"workflow": name, "version": version, "signal": signal, "value": value}
        return self._check(asked)

    def _check(self, asked: Mapping[str, Any]) -> Refusal | None:
        answer = _ask({"modules": self._modules, "check": asked}, _CHECK_TIMEOUT)
        refusal = answer["refusal"]
        return None if refusal is None else Refusal(refusal["path"], refusal["message"])


def load(modules: Sequence[str]) -> KnownApplication:
    """Return the workflows of ``modules``. It blocks. Raises ApplicationFailed."""
    if not modules:
        return KnownApplication(())
    answer = _ask({"modules": list(modules)}, _LOAD_TIMEOUT)
    return KnownApplication(modules, [_workflow(each) for each in answer["workflows"]])


def _workflow(described: Mapping[str, Any]) -> KnownWorkflow:
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
