"""A worker that a program starts and stops: the ``owsuper`` command in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypedDict

from owsuper import embedded
from owsuper.core.durations import Duration, seconds
from owsuper.errors import ConfigurationError, RegistrationError, WorkerError
from owsuper.settings import SETTING_TYPES, variable_name

if TYPE_CHECKING:
    from owsuper.workflow.registry import Registry

_QUOTED_LINES: Final = 200  # lines of standard error quoted in the error of a failed start
_TEMPLATE_MODULE: Final = "owsuper.child.template"  # the main module of a worker's processes


class WorkerSettings(TypedDict, total=False):
    """The options of ``owsuper`` that ``new_worker`` takes besides processes and concurrency.

    Durations are timedeltas, seconds as a number, or text with a unit such as ``"5m"``.
    """

    only: str | Sequence[str]
    except_: str | Sequence[str]
    listen_url: str
    poll_interval: Duration
    lease: Duration
    graceful_timeout: Duration
    kill_grace: Duration
    max_crashes: int
    max_runs_per_child: int | None
    max_memory_per_child: int | str | None
    hang_timeout: Duration | None
    log_level: str
    log_format: str
    log_config: str | None
    log_replay: bool
    keep_logs: Duration | None
    retain: str | Sequence[str]
    archive: str | None
    listen: bool
    migrate: bool
    preload: bool
    durable_claims: bool
    metrics_port: int | None
    metrics_host: str


class Worker:
    """A supervisor and its child processes, beside the program that starts them.

    Call ``start`` and ``stop``, or use the worker as a context manager. The worker imports the
    modules of the workflows, so a script must start a worker under
    ``if __name__ == "__main__":``. When the program ends in any way, the worker drains and ends.
    """

    def __init__(
        self, modules: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> None:
        self._modules = tuple(modules)
        self._environment = dict(environment)
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None
        self._ready_socket: socket.socket | None = None
        self._received = b""  # from the supervisor, and not a whole line yet
        self._copier: threading.Thread | None = None
        self._stderr: deque[str] = deque(maxlen=_QUOTED_LINES)

    @property
    def pid(self) -> int | None:
        """The supervisor's process id; None before ``start``."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the supervisor's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: Duration = 30.0) -> Worker:
        """Start the processes, and wait until they take runs. Returns the worker itself.

        Raises WorkerError if the worker ends before that or is not ready after ``timeout``; the
        message quotes the worker's standard error. Raises ConfigurationError inside a worker's own
        processes, and InvalidDuration.
        """
        limit = seconds(timeout)
        if self.running:
            raise WorkerError(f"this worker is already running (pid {self.pid})")
        _refuse_in_worker()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._spawn(theirs.fileno())
        self._ready_socket, self._received = ours, b""
        self._end = weakref.finalize(self, _end, self._process, ours, os.getpid())
        self._copier = threading.Thread(
            target=_copy_stderr,
            args=(self._process, self._stderr),
            name="owsuper-worker",
            daemon=True,
        )
        try:
            self._copier.start()
            self._await_ready(limit)
        except BaseException:
            self.stop()
            if self._process.stderr is not None and not self._copier.is_alive():
                self._process.stderr.close()  # unless the copier has done so
            raise
        if variable_name("database_url") not in self._environment:
            # The worker uses the embedded server and has announced it. This process need not.
            os.environ.setdefault(
                embedded.ENVIRONMENT, str((self._directory / ".owsuper").resolve())
            )
        return self

    def reload(self, timeout: Duration = 60.0) -> None:
        """Replace the worker's code by what is on disk now, and wait until only that takes runs.

        Runs in progress finish in the old code, or move to the new code at a step boundary after
        the graceful time-out. No run is lost, and runs are picked up meanwhile.

        Raises WorkerError if the worker is not running, if the new code cannot be loaded, which
        leaves the old code in place, or after ``timeout``. Raises InvalidDuration.
        """
        limit = seconds(timeout)
        if not self.running or self._ready_socket is None:
            raise WorkerError("this worker is not running")
        while self._read_line(0):
            pass  # outcomes of reloads by signal, or of one that took too long
        with contextlib.suppress(ConnectionError):  # it ends: ``_read_line`` finds that out
            self._ready_socket.sendall(b"reload\n")
        line = self._read_line(limit)
        if line is None:
            raise WorkerError(f"the worker has not reloaded within {limit:g} s")
        if not line:
            raise WorkerError("the worker ended while it reloaded its code")
        outcome, _, reason = line.partition(": ")
        if outcome != "reloaded":
            raise WorkerError(f"the reload failed, the old code serves on: {json.loads(reason)}")

    def stop(self) -> None:
        """Stop the worker and wait for its end.

        Its runs may finish, for at most the graceful time-out. Without effect before ``start``.
        """
        if self._process is None:
            return
        self._end()
        if self._copier is not None and self._copier.is_alive():
            self._copier.join()

    def __enter__(self) -> Worker:
        return self if self.running else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _spawn(self, ready_fd: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "owsuper", "--ready-fd", str(ready_fd)]
        for module in self._modules:
            command += ["--module", module]
        paths = [path or str(Path.cwd()) for path in sys.path]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(ready_fd,),
            cwd=self._directory,
            env={**os.environ, **self._environment, "PYTHONPATH": os.pathsep.join(paths)},
            text=True,
            errors="replace",
        )

    def _await_ready(self, timeout: float) -> None:
        assert self._process
        line = self._read_line(timeout)
        if line is None:
            raise WorkerError(f"the worker was not ready within {timeout:g} s{self._quote()}")
        if line:
            return
        code = self._process.wait()
        assert self._copier
        self._copier.join()
        raise WorkerError(f"the worker ended with exit code {code} while starting{self._quote()}")

    def _read_line(self, timeout: float) -> str | None:
        """Return the next line from the supervisor; "" at its end, None after ``timeout``."""
        assert self._ready_socket
        give_up_at = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._ready_socket, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, give_up_at - time.monotonic())):
                    return None
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = self._ready_socket.recv(4096)
                if not data:
                    return ""
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def _quote(self) -> str:
        text = "".join(self._stderr).strip()
        return f":\n{text}" if text else ", without any output"


def modules_of(registry: Registry, owner: object) -> list[str]:
    """Return the modules that a worker imports for these workflows, which belong to ``owner``.

    A script is named by its path. The name of ``owner`` in the module follows after a colon, if
    ``owner`` has one. Raises RegistrationError if no workflow is registered, ConfigurationError
    if one was defined interactively.
    """
    names = list(dict.fromkeys(workflow.fn.__module__ for workflow in registry))
    if not names:
        raise RegistrationError(
            "no workflow is registered, so a worker would have nothing to do. Import the modules"
            " that define workflows first, or name them: new_worker(modules=['app.workflows'])"
        )
    return [_module_of(name, owner) for name in names]


def _module_of(name: str, owner: object) -> str:
    members = vars(sys.modules[name]) if name in sys.modules else {}
    attribute = next((key for key, value in members.items() if value is owner), None)
    module = _main_module() if name == "__main__" else name
    return f"{module}:{attribute}" if attribute else module


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return ``settings`` as environment variables.

    Other users of the host can read the arguments of a process, but not its environment.
    Raises ConfigurationError for an unknown name or a value that cannot be used.
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
        variables[variable_name(name)] = _as_text(read)
    return variables


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _main_module() -> str:
    main: ModuleType = sys.modules["__main__"]
    if main.__spec__ is not None:  # python -m package.module
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    if file is None or not Path(file).exists():
        raise ConfigurationError(
            "the workflows were defined interactively, where the processes of a worker cannot"
            " import them. Put them into a file, or have them executed in threads of this process:"
            " ThreadWorker(ow).start()"
        )
    return str(Path(file).resolve())


def _refuse_in_worker() -> None:
    spec = sys.modules["__main__"].__spec__
    if spec is not None and spec.name == _TEMPLATE_MODULE:
        raise ConfigurationError(
            "a worker imported this module, and the module starts another worker. Put the code"
            ' that only the program itself runs under if __name__ == "__main__":'
        )


def _copy_stderr(process: subprocess.Popen[str], recent: deque[str]) -> None:
    """Copy the worker's standard error to ours and to ``recent``, line by line."""
    assert process.stderr
    with process.stderr as lines:
        for line in lines:
            recent.append(line)
            with contextlib.suppress(OSError, ValueError, AttributeError):  # ours may be closed
                sys.stderr.write(line)
                sys.stderr.flush()


def _end(process: subprocess.Popen[str], ready_socket: socket.socket, owner_pid: int) -> None:
    if os.getpid() != owner_pid:  # a fork of this process must not stop its parent's worker
        return
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait()
    ready_socket.close()
