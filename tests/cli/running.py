"""What a command left behind, and what its tests put in its way."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Result:
    """What a command that ended left behind."""

    code: int
    stdout: str
    stderr: str

    def is_one_error(self, code: int) -> bool:
        """Whether it ended with ``code`` and one message for people, on standard error only."""
        one = self.stderr.startswith("owsuper: error: ") and self.stderr.count("error: ") == 1
        return (self.code, self.stdout) == (code, "") and one and "Traceback" not in self.stderr


class Run(Protocol):
    """Runs ``owsuper`` with these arguments to its end."""

    def __call__(self, *argv: str, env: Mapping[str, str | None] | None = None) -> Result: ...


@contextmanager
def port(*, listening: bool) -> Iterator[int]:
    """A port on which nobody listens, or one that accepts and never says a word."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listening:
            taken.listen()
        yield taken.getsockname()[1]


def write_module(directory: Path, name: str, text: str) -> None:
    """A module of the user's application."""
    path = directory / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
