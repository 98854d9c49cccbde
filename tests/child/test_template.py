"""The template as a real process: it loads, forks, reaps, reports, and leaves."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from owsuper.ipc import flight_recorder
from owsuper.ipc.messages import (
    PROBE,
    ApplicationLoaded,
    Exited,
    Fork,
    Forked,
    FrameBuffer,
    Load,
    LoadFailed,
    Message,
    Ready,
    encode,
)
from owsuper.settings import Settings
from owsuper.supervisor.spawn import start_template

M = TypeVar("M", bound=Message)
ROOT = Path(__file__).resolve().parents[2]

# An application whose children do what the test tells them, instead of serving runs.
APPLICATION = """
import gc, os, random, signal, socket, sys, threading
from owsuper import OpenWorkflow
import owsuper.child.main
from owsuper.child.unforkable import open_sockets
from owsuper.ipc.messages import Ready, encode

ow = OpenWorkflow(namespace="mine")

@ow.workflow("greet", version="2")
def greet(step):
    return "hello"

imported_in = os.getpid()
loose = [object() for _ in range(1000)]

def serve(spec):
    spec.sock.sendall(encode(Ready(os.getpid())))
    line = spec.sock.makefile("r")
    for order in line:
        answer = eval(order, globals(), {"spec": spec})
        spec.sock.sendall(f"{answer}\\n".encode())
    os._exit(0)

owsuper.child.main.serve = serve
"""


class Control:
    """Our end of a template's control socket."""

    def __init__(self, modules: str = "flows", *, preload: bool = True) -> None:
        self.settings = Settings(modules=(modules,), preload=preload, concurrency=2)
        self.pid, self.sock = start_template()
        self.sock.settimeout(30)
        self._frames = FrameBuffer()
        self._arrived: deque[Message] = deque()
        self.kids: list[Kid] = []

    def load(self) -> Message:
        self.sock.sendall(encode(Load(self.settings)))
        return self.hear(ApplicationLoaded, LoadFailed, Exited)

    def hear(self, *kinds: type[M]) -> M:
        """The next message, which must be of one of these kinds."""
        while not self._arrived:
            data = self.sock.recv(65536)
            assert data, "the template is gone"
            self._arrived += self._frames.feed(data)
        message = self._arrived.popleft()
        assert isinstance(message, kinds)
        return message

    def fork(self, number: int = 1, environment: dict[str, str] | None = None) -> Kid:
        ours, theirs = socket.socketpair()
        memory = flight_recorder.create(2)
        request = Fork(number, self.settings, environment or {})
        socket.send_fds(self.sock, [encode(request)], [theirs.fileno(), memory])
        theirs.close()
        os.close(memory)
        kid = Kid(ours)
        self.kids.append(kid)
        return kid

    def end(self) -> None:
        for kid in self.kids:
            kid.sock.close()
        self.sock.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Kid:
    """Our end of a child's pipe."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(30)

    def ready(self) -> int:
        (message,) = FrameBuffer().feed(self.sock.recv(4096))
        assert isinstance(message, Ready)
        return message.pid

    def ask(self, order: str) -> str:
        self.sock.sendall(f"{order}\n".encode())
        return self.sock.recv(65536).decode().rstrip("\n")

    def at_eof(self) -> bool:
        return self.sock.recv(65536) == b""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write the application, with something extra at its end, and stand where it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def write(extra: str = "") -> None:
        (tmp_path / "flows.py").write_text(APPLICATION + extra)

    write()
    return write


@pytest.fixture
def start(app: object) -> Iterator[Callable[..., Control]]:
    controls: list[Control] = []

    def start(modules: str = "flows", *, preload: bool = True) -> Control:
        controls.append(Control(modules, preload=preload))
        return controls[-1]

    yield start
    for control in controls:
        control.end()


Start = Callable[..., Control]
App = Callable[[str], None]


# --- loading -----------------------------------------------------------------------------------


def test_it_says_what_the_application_registers_and_was_given(start: Start) -> None:
    before = time.time()
    loaded = start().load()
    assert before - 1 < loaded.loaded_at < time.time() + 1
    assert replace(loaded, loaded_at=0.0) == ApplicationLoaded((("greet", "2"),), namespace="mine")


def test_children_share_what_the_template_imported(start: Start) -> None:
    control = start()
    control.load()
    kid = control.fork()
    pid = kid.ready()
    assert kid.ask("imported_in") == str(control.pid)
    assert kid.ask("os.getppid()") == str(control.pid)
    assert control.hear(Forked) == Forked(1, pid)


@pytest.mark.parametrize("preload", [True, False])
def test_children_read_no_sql_which_may_be_that_of_another_version_by_then(
    start: Start, app: App, preload: bool
) -> None:
    app("""
from owsuper.db.related import RelatedStore
from owsuper.db.runs import RunStore
from owsuper.db.statement import load

def reads_sql(schema):
    before = load.cache_info().misses
    RunStore(schema, "default"), RelatedStore(schema, "default")
    return load.cache_info().misses > before
""")
    control = start(preload=preload)
    control.load()
    kid = control.fork()
    kid.ready()
    assert kid.ask(f"reads_sql({control.settings.schema!r})") == "False"
    assert kid.ask("reads_sql('another')") == "True"


def test_without_preload_every_child_imports_for_itself(start: Start) -> None:
    control = start(preload=False)
    assert replace(control.load(), loaded_at=0.0) == ApplicationLoaded(
        (("greet", "2"),), namespace="mine"
    )
    assert control.hear(Exited).child == PROBE
    kid = control.fork()
    kid.ready()
    assert kid.ask("imported_in == os.getpid()") == "True"


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize(
    ("extra", "kind", "words", "with_traceback"),
    [
        ("\n1 / 0\n", "import", "ZeroDivisionError", True),
        (
            "\nfrom owsuper import OpenWorkflow\now = OpenWorkflow()\ndel greet\n",
            "empty",
            "",
            False,
        ),
        ("\n@ow.workflow('greet', version='2')\ndef g(step): ...\n", "duplicate", "greet", False),
    ],
    ids=["import", "empty", "duplicate"],
)
@pytest.mark.slow
def test_what_cannot_be_loaded_is_told_with_a_traceback_only_if_it_helps(
    start: Start,
    app: App,
    extra: str,
    kind: str,
    words: str,
    with_traceback: bool,
    preload: bool,
) -> None:
    app(extra)
    failed = start(preload=preload).load()
    assert isinstance(failed, LoadFailed)
    assert failed.kind == kind
    assert words in failed.message
    assert (failed.traceback is not None) == with_traceback


def test_a_probe_that_dies_is_told_of(start: Start, app: App) -> None:
    app("\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    exited = start(preload=False).load()
    assert isinstance(exited, Exited)
    assert exited.child == PROBE
    assert os.WTERMSIG(exited.wait_status) == signal.SIGSEGV


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (
            "\nthreading.Thread(target=threading.Event().wait, name='flusher', daemon=True)"
            ".start()\n",
            "thread flusher",
        ),
        ("\npair = socket.socketpair()\n", "a pair of sockets"),
        ("\nlistener = socket.create_server(('127.0.0.1', 0))\n", "an unconnected socket"),
    ],
    ids=["thread", "socketpair", "listener"],
)
def test_what_importing_leaves_behind_is_named_and_children_import_for_themselves(
    start: Start, app: App, extra: str, words: str
) -> None:
    app(extra)
    control = start()
    loaded = control.load()
    assert isinstance(loaded, ApplicationLoaded)
    (warning,) = loaded.warnings
    assert words in warning
    assert "--no-preload" in warning
    kid = control.fork()
    kid.ready()
    assert kid.ask("imported_in == os.getpid()") == "True"
    assert kid.ask("os.getppid()") == str(control.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_a_thread_that_python_does_not_know_is_noticed(start: Start, app: App) -> None:
    app("\nimport _thread\n_thread.start_new_thread(threading.Event().wait, ())\n")
    loaded = start().load()
    assert isinstance(loaded, ApplicationLoaded)
    assert "1 native thread" in loaded.warnings[0]


def test_a_child_that_cannot_import_says_why_on_its_own_pipe(start: Start, app: App) -> None:
    control = start(preload=False)
    control.load()
    control.hear(Exited)
    app("\n1 / 0\n")
    kid = control.fork()
    (message,) = FrameBuffer().feed(kid.sock.recv(65536))
    assert isinstance(message, LoadFailed)
    assert "ZeroDivisionError" in message.message
    control.hear(Forked)
    assert os.waitstatus_to_exitcode(control.hear(Exited).wait_status) == 3


# --- children ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "signal_number", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", signal.SIGKILL, None),
        ("os.kill(os.getpid(), signal.SIGTERM)", signal.SIGTERM, None),
        ("os._exit(7)", None, 7),
    ],
)
def test_a_death_is_seen_on_the_pipe_and_told_with_its_cause(
    start: Start, order: str, signal_number: int | None, code: int | None
) -> None:
    control = start()
    control.load()
    kid = control.fork(5)
    pid = kid.ready()
    control.hear(Forked)
    kid.sock.sendall(f"{order}\n".encode())
    assert kid.at_eof()
    exited = control.hear(Exited)
    assert (exited.child, exited.pid) == (5, pid)
    assert exited.max_rss_kb > 1000
    if signal_number is not None:
        assert os.WTERMSIG(exited.wait_status) == signal_number
    else:
        assert os.WEXITSTATUS(exited.wait_status) == code


def test_no_child_holds_a_siblings_pipe_or_the_control_socket(start: Start) -> None:
    control = start()
    control.load()
    kids = [control.fork(number) for number in range(3)]
    for kid in kids:
        kid.ready()
    for kid in kids:
        assert kid.ask("len(open_sockets())") == "1"
    kids[0].sock.sendall(b"os._exit(0)\n")
    assert kids[0].at_eof()


def test_a_program_started_by_a_step_does_not_hold_the_pipe(start: Start) -> None:
    control = start()
    control.load()
    kid = control.fork()
    kid.ready()
    order = "os.posix_spawn('/bin/sleep', ['sleep', '60'], os.environ)"
    sleeper = int(kid.ask(order))
    try:
        kid.sock.sendall(b"os._exit(0)\n")
        kid.sock.settimeout(5)
        assert kid.at_eof()
    finally:
        os.kill(sleeper, signal.SIGKILL)


def test_children_have_random_numbers_and_signals_of_their_own(start: Start) -> None:
    control = start()
    control.load()
    kids = [control.fork(number) for number in range(2)]
    for kid in kids:
        kid.ready()
    assert kids[0].ask("random.random()") != kids[1].ask("random.random()")
    for kid in kids:
        assert kid.ask("signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL") == "True"
        assert kid.ask("signal.getsignal(signal.SIGTERM) is signal.SIG_DFL") == "True"
        assert kid.ask("signal.set_wakeup_fd(-1)") == "-1"


def test_what_was_imported_is_frozen_so_that_memory_stays_shared(start: Start) -> None:
    control = start()
    control.load()
    kid = control.fork()
    kid.ready()
    assert int(kid.ask("gc.get_freeze_count()")) > 1000


def test_children_get_the_environment_they_are_sent(start: Start) -> None:
    control = start()
    control.load()
    kid = control.fork(environment={"OWSUPER_NAMESPACE": "other"})
    kid.ready()
    assert kid.ask("os.environ['OWSUPER_NAMESPACE']") == "other"


@pytest.mark.slow
def test_it_warns_of_nothing_where_warnings_are_errors(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "error")  # 3.12 warns when a process with threads forks
    control = start()
    assert isinstance(control.load(), ApplicationLoaded)
    assert control.fork().ready()


# --- signals that the application changes while it is imported ---------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.signal(signal.SIGCHLD, signal.SIG_DFL)",
        "signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, 0))",
        "signal.set_wakeup_fd(-1)",
        "ours, theirs = socket.socketpair(); theirs.setblocking(False);"
        " signal.set_wakeup_fd(theirs.fileno())",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
    ],
    ids=["ignored", "default", "handled", "no wake-up", "other wake-up", "blocked", "interrupt"],
)
def test_it_reaps_its_children_and_leaves_whatever_importing_did_to_signals(
    start: Start, app: App, change: str
) -> None:
    app(f"\n{change}\n")
    control = start()
    loaded = control.load()
    assert isinstance(loaded, ApplicationLoaded)
    assert "SIGCHLD" in loaded.warnings[0]
    kid = control.fork(5)
    pid = kid.ready()
    assert kid.ask("signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_BLOCK, [])") == "False"
    control.hear(Forked)
    kid.sock.sendall(b"os._exit(7)\n")
    exited = control.hear(Exited)
    assert exited.pid == pid
    assert os.WEXITSTATUS(exited.wait_status) == 7
    control.sock.shutdown(socket.SHUT_RDWR)
    assert exit_code_of(control.pid) == 0


@pytest.mark.slow
def test_it_reaps_its_children_whatever_functions_of_register_at_fork_did_to_signals(
    start: Start, app: App
) -> None:
    app("\nos.register_at_fork(after_in_parent=lambda: signal.set_wakeup_fd(-1))\n")
    control = start()
    control.load()
    kid = control.fork(5)
    kid.ready()
    control.hear(Forked)
    kid.sock.sendall(b"os._exit(7)\n")
    assert os.WEXITSTATUS(control.hear(Exited).wait_status) == 7


@pytest.mark.slow
def test_it_says_nothing_of_signals_that_it_does_not_need(start: Start, app: App) -> None:
    app("\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\n")
    loaded = start().load()
    assert isinstance(loaded, ApplicationLoaded)
    assert loaded.warnings == ()


# --- the end -----------------------------------------------------------------------------------


def exit_code_of(pid: int) -> int:
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_code == os.CLD_EXITED
    return ended.si_status


def test_it_leaves_when_the_supervisor_is_gone(start: Start) -> None:
    control = start()
    control.load()
    control.sock.shutdown(socket.SHUT_RDWR)
    assert exit_code_of(control.pid) == 0


@pytest.mark.slow
def test_it_stays_until_its_children_have_left(start: Start) -> None:
    control = start()
    control.load()
    kid = control.fork()
    kid.ready()
    control.sock.shutdown(socket.SHUT_RDWR)
    assert kid.ask("os.getppid()") == str(control.pid)
    kid.sock.shutdown(socket.SHUT_RDWR)
    assert exit_code_of(control.pid) == 0


@pytest.mark.slow
def test_it_kills_children_that_do_not_leave_in_time(start: Start, app: App) -> None:
    app("sys.modules['__main__']._LAST_SECONDS = 0.1\n")
    control = start()
    control.settings = replace(control.settings, graceful_timeout=0.0)
    control.load()
    kid = control.fork()
    kid.ready()
    control.sock.shutdown(socket.SHUT_RDWR)
    assert kid.at_eof()
    assert exit_code_of(control.pid) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks for a zombie in /proc")
def test_what_a_child_leaves_that_died_together_with_the_supervisor_is_ended(
    start: Start, tmp_path: Path
) -> None:
    control = start()
    control.load()
    kid = control.fork()
    pid = kid.ready()
    os.mkfifo(tmp_path / "lives")
    order = "os.posix_spawn('/bin/sh', ['sh', '-c', 'exec sleep 600 >lives'], os.environ)"
    sleeper = int(kid.ask(order))
    lives = os.open(tmp_path / "lives", os.O_RDONLY)
    try:
        os.kill(control.pid, signal.SIGSTOP)  # so that it sees both deaths at once
        os.waitid(os.P_PID, control.pid, os.WSTOPPED)
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass
        control.sock.shutdown(socket.SHUT_RDWR)
        os.kill(control.pid, signal.SIGCONT)
        assert exit_code_of(control.pid) == 0
        assert select.select([lives], [], [], 30)[0]
    finally:
        os.close(lives)
        with contextlib.suppress(ProcessLookupError):
            os.kill(sleeper, signal.SIGKILL)


def test_a_ctrl_c_in_the_terminal_does_not_reach_it(start: Start) -> None:
    control = start()
    control.load()
    assert os.getpgid(control.pid) == control.pid != os.getpgrp()
