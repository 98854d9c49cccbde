"""A worker, started and stopped by a program: the ``owsuper`` command as a child process."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypedDict

from owsuper import embedded
from owsuper.errors import ConfigurationError, RegistrationError, WorkerError
from owsuper.settings import SETTING_TYPES, variable_name

if TYPE_CHECKING:
    from owsuper.workflow.registry import Registry

_LAST_WORDS: Final = 200  # lines of standard error to quote from a worker that did not start
_WITHIN: Final = "owsuper.child.template"  # what the processes below a supervisor run


class WorkerSettings(TypedDict, total=False):
    """What ``new_worker`` takes besides processes and concurrency: the options of ``owsuper``."""

    listen_url: str
    poll_interval: float | timedelta | str
    lease: float | timedelta | str
    graceful_timeout: float | timedelta | str
    max_crashes: int
    log_level: str
    listen: bool
    migrate: bool
    preload: bool
    durable_claims: bool


class Worker:
    """A supervisor and its children, beside the program that made it.

    ``start`` and ``stop``, or use it as a context manager. The worker imports the workflows'
    modules by itself, so a script that starts one must do so under
    ``if __name__ == "__main__":``. It drains and ends when the program ends, however it does.
    """

    def __init__(
        self, modules: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> None:
        self._modules = tuple(modules)
        self._environment = dict(environment)
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None
        self._line: socket.socket | None = None
        self._listener: threading.Thread | None = None
        self._said: deque[str] = deque(maxlen=_LAST_WORDS)

    @property
    def pid(self) -> int | None:
        """The supervisor's process id; None before ``start``."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the supervisor's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = 30.0) -> Worker:
        """Start the processes; returns when they take runs.

        Raises WorkerError, with what the worker said, when it ends before that or is not ready
        after ``timeout`` seconds; ConfigurationError inside a worker's own processes.
        """
        if self.running:
            raise WorkerError(f"this worker runs already (pid {self.pid})")
        _refuse_in_worker()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._spawn(theirs.fileno())
        self._line = ours
        self._end = weakref.finalize(self, _end, self._process, ours, os.getpid())
        self._listener = threading.Thread(
            target=_pass_on, args=(self._process, self._said), name="owsuper-worker", daemon=True
        )
        self._listener.start()
        try:
            self._await_ready(timeout)
        except BaseException:
            self.stop()
            raise
        if variable_name("database_url") not in self._environment:
            # It uses the embedded server, and has said so: once is enough.
            os.environ.setdefault(
                embedded.ENVIRONMENT, str((self._directory / ".owsuper").resolve())
            )
        return self

    def stop(self) -> None:
        """Let the runs finish, for at most the graceful time-out, and wait for the end."""
        if self._process is None:
            return
        self._end()
        if self._listener is not None:
            self._listener.join()

    def __enter__(self) -> Worker:
        return self if self.running else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _spawn(self, line: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "owsuper", "--ready-fd", str(line)]
        for module in self._modules:
            command += ["--module", module]
        paths = [path or str(Path.cwd()) for path in sys.path]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(line,),
            cwd=self._directory,
            env={**os.environ, **self._environment, "PYTHONPATH": os.pathsep.join(paths)},
            text=True,
            errors="replace",
        )

    def _await_ready(self, timeout: float) -> None:
        assert self._process
        assert self._line
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise WorkerError(f"the worker was not ready within {timeout:g} s{self._quote()}")
        with contextlib.suppress(ConnectionError):
            if self._line.recv(64):
                return
        code = self._process.wait()
        assert self._listener
        self._listener.join()
        raise WorkerError(f"the worker ended with exit code {code} at its start{self._quote()}")

    def _quote(self) -> str:
        said = "".join(self._said).strip()
        return f":\n{said}" if said else ", without a word"


def modules_of(registry: Registry, owner: object) -> list[str]:
    """Where a worker finds these workflows, which belong to ``owner``: modules, or the path of a
    script, and the name of ``owner`` in there if it has one.

    Raises RegistrationError when there are none, ConfigurationError when they were typed in.
    """
    names = list(dict.fromkeys(workflow.fn.__module__ for workflow in registry))
    if not names:
        raise RegistrationError(
            "no workflow is registered, so a worker would have nothing to do: import the modules"
            " that define workflows first, or name them: new_worker(modules=['app.workflows'])"
        )
    return [_place(name, owner) for name in names]


def _place(name: str, owner: object) -> str:
    members = vars(sys.modules[name]) if name in sys.modules else {}
    attribute = next((key for key, value in members.items() if value is owner), None)
    module = _main_module() if name == "__main__" else name
    return f"{module}:{attribute}" if attribute else module


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """``settings`` as environment variables, which unlike arguments others cannot read.

    Raises ConfigurationError.
    """
    variables = {}
    for name, value in settings.items():
        if name not in SETTING_TYPES:
            raise ConfigurationError(
                f"new_worker has no setting {name!r}; it has {', '.join(SETTING_TYPES)}"
            )
        if value is None:
            continue
        try:
            read = SETTING_TYPES[name].read(value)
        except ConfigurationError as error:
            raise type(error)(f"{name}: {error}") from None
        variables[variable_name(name)] = str(read).lower() if isinstance(read, bool) else str(read)
    return variables


def _main_module() -> str:
    main: ModuleType = sys.modules["__main__"]
    if main.__spec__ is not None:  # python -m package.module
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    if file is None or not Path(file).exists():
        raise ConfigurationError(
            "the workflows were defined interactively, where a worker cannot import them: put"
            " them into a file"
        )
    return str(Path(file).resolve())


def _refuse_in_worker() -> None:
    spec = sys.modules["__main__"].__spec__
    if spec is not None and spec.name == _WITHIN:
        raise ConfigurationError(
            "a worker imported this module and was told to start another worker. Put what only"
            ' the program itself shall do under if __name__ == "__main__":'
        )


def _pass_on(process: subprocess.Popen[str], said: deque[str]) -> None:
    """Copy the worker's standard error to ours, line by line."""
    assert process.stderr
    with process.stderr as lines:
        for line in lines:
            said.append(line)
            with contextlib.suppress(OSError, ValueError, AttributeError):  # ours may be closed
                sys.stderr.write(line)
                sys.stderr.flush()


def _end(process: subprocess.Popen[str], line: socket.socket, owner: int) -> None:
    if os.getpid() != owner:  # a forked child has no business with its parent's worker
        return
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait()
    line.close()
