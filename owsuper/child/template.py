"""The template: imports the application once, then forks children on request.

A process that holds a database connection cannot fork safely and one with threads cannot
either, so children descend from this one, which has neither: it speaks to the supervisor over
one socket, forks, reaps and reports. It is started afresh (``python -m owsuper.child.template
FD``), never forked itself. If importing the application leaves threads or sockets behind, it
begins again as a bare template, and children import for themselves (as with ``--no-preload``).

When the supervisor is gone the template forks no more and leaves once its children have.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import sys
from collections import deque

from setproctitle import setproctitle

from owsuper import logs
from owsuper.child import fork, loader
from owsuper.child.fork import ForkedChild, run_child
from owsuper.child.loader import Application, LoadError
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
    encode,
)
from owsuper.settings import Settings

_log = logging.getLogger("owsuper.template")


class Template:
    """One generation of code. While ``_application`` is None it is bare."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._frames = FrameBuffer()
        self._descriptors: deque[int] = deque()  # received, for Forks still to come
        self._children: dict[int, int] = {}  # number by pid
        self._application: Application | None = None
        self._supervised = True
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the wake-up is all we want of it
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the supervisor's business

    def run(self) -> ForkedChild | None:
        """Serve until the supervisor and all children are gone: None.

        Like fork, it returns a second time, in every child: what to live as.
        """
        while self._supervised or self._children:
            ready = [key.fileobj for key, _ in self._selector.select()]
            if self._wake_reader in ready:
                self._reap()
            if self._control in ready:
                for message in self._receive():
                    if (born := self._obey(message)) is not None:
                        return born
        return None

    def _receive(self) -> list[Message]:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 64)
        except ConnectionError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # no process a step starts may hold our pipe
            self._descriptors.append(descriptor)
        if not data:
            self._supervised = False
            self._selector.unregister(self._control)
        return self._frames.feed(data)

    def _obey(self, message: Message) -> ForkedChild | None:
        match message:
            case Load(settings):
                logs.configure(settings.log_level)
                if settings.preload:
                    self._preload(settings)
                else:
                    self._probe(settings)
            case Fork():
                return self._fork(message)
            case _:
                _log.error("a template is not told %s", type(message).__name__)
        return None

    def _say(self, message: Message) -> None:
        if self._supervised:
            with contextlib.suppress(OSError):  # gone: reading will say so
                self._control.sendall(encode(message))

    # --- loading -------------------------------------------------------------------------

    def _preload(self, settings: Settings) -> None:
        _set_title(settings)
        _import_ours()
        before = fork.open_sockets()
        try:
            loaded = loader.load(settings.modules)
        except LoadError as exc:
            self._say(LoadFailed(exc.kind, exc.message, exc.traceback))
            return
        left = fork.unforkable(before)
        if left:
            self._say(_describe(loaded, warnings=(fork.warning(left),)))
            self._begin_again_bare()
        self._application = loaded
        gc.collect()
        gc.freeze()  # a collection in a child must not touch, and so copy, what they share
        self._say(_describe(loaded))

    def _begin_again_bare(self) -> None:
        """The same process anew: threads and sockets end here, the control socket lives on.

        Nothing is lost on it: the supervisor forks only what has said ``Loaded``, and what it
        says from now on waits in the socket.
        """
        os.set_inheritable(self._control.fileno(), True)
        os.execv(sys.executable, sys.orig_argv)

    def _probe(self, settings: Settings) -> None:
        """Let a process of its own import and answer, so that nothing of it is left in here.

        Its end is reported: it may die without an answer.
        """
        _set_title(settings)
        pid = os.fork()
        if pid:
            self._children[pid] = PROBE
            return
        self._settle_in()
        try:
            answer: Message = _describe(loader.load(settings.modules))
        except LoadError as exc:
            answer = LoadFailed(exc.kind, exc.message, exc.traceback)
        self._say(answer)
        _flush()
        os._exit(0)

    # --- children ------------------------------------------------------------------------

    def _fork(self, fork: Fork) -> ForkedChild | None:
        pipe_fd, flight_fd = self._descriptors.popleft(), self._descriptors.popleft()
        if self._application is None:
            _set_title(fork.settings)
            _import_ours()
        _flush()
        try:
            pid = os.fork()
        except OSError as exc:
            _log.error("child %d cannot be forked: %s", fork.child, exc)
            pid = None
        if pid == 0:
            self._settle_in()
            self._control.close()
            return ForkedChild(fork, socket.socket(fileno=pipe_fd), flight_fd, self._application)
        os.close(pipe_fd)  # if nobody holds this end, the supervisor sees it
        os.close(flight_fd)
        if pid is not None:
            self._children[pid] = fork.child
            self._say(Forked(fork.child, pid))
        return None

    def _settle_in(self) -> None:
        """In a new process: let go of what is the template's, reset what must differ."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
        while self._descriptors:  # of siblings that are announced but not yet forked
            os.close(self._descriptors.popleft())
        fork.reseed()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_reader.recv(512):
                pass
        for pid in list(self._children):
            reaped, status, usage = os.wait4(pid, os.WNOHANG)
            if reaped:
                child = self._children.pop(pid)
                self._say(Exited(child, pid, status, _kilobytes(usage.ru_maxrss)))


def _describe(loaded: Application, *, warnings: tuple[str, ...] = ()) -> ApplicationLoaded:
    return ApplicationLoaded(
        workflows=tuple(loaded.registry.names()),
        database_url=loaded.database_url,
        namespace=loaded.namespace,
        schema=loaded.schema,
        warnings=warnings,
    )


def _set_title(settings: Settings) -> None:
    bare = "" if settings.preload else " (not preloaded)"
    setproctitle(f"owsuper: template {' '.join(settings.modules)}{bare}")


def _import_ours() -> None:
    """Import what every child needs before forking, so that they share it."""
    import owsuper.child.main  # noqa: F401


def _kilobytes(max_rss: int) -> int:
    return max_rss // 1024 if sys.platform == "darwin" else max_rss


def _flush() -> None:
    """What is buffered would be written once by each process."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def main() -> int:
    """Entry of a fresh interpreter: ``FD`` is the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    born = Template(control).run()
    if born is not None:
        run_child(born)
    return 0


if __name__ == "__main__":
    sys.exit(main())
