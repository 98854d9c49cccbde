"""Log lines: time, level, process, logger, message, and then whatever context was passed."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from owsuper import logs

PACKAGE = Path(logs.__file__).parent


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    changed = [logging.getLogger(), *(logging.getLogger(name) for name in logs.LOGGERS)]
    before = [(each, vars(each).copy(), each.handlers[:], each.__class__) for each in changed]
    last_resort = logging.lastResort
    yield
    logging.lastResort = last_resort
    for each, attributes, handlers, its_class in before:
        each.__class__ = its_class
        vars(each).update(attributes)
        each.handlers[:] = handlers
        each.setLevel(each.level)  # forgets what it has cached


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logging.getLogger().handlers.clear()  # those of pytest
    logs.configure("info", stream)
    logs.adopt_root()
    return stream


def test_a_line_has_time_level_process_logger_and_message(stream: io.StringIO) -> None:
    logging.getLogger("owsuper.child").info("hello %s", "there")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    line = rf"{stamp} INFO {os.getpid()} owsuper\.child: hello there\n"
    assert re.fullmatch(line, stream.getvalue())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("6f1c-9", "key=6f1c-9"),
        (3, "key=3"),
        (0.12345, "key=0.123"),
        ("send email", 'key="send email"'),
        ('a"b\nc', r'key="a\"b\nc"'),
        ("", 'key=""'),
        ("münchen", "key=münchen"),
    ],
)
def test_context_follows_the_message_on_the_same_line(
    value: object, shown: str, stream: io.StringIO
) -> None:
    logging.getLogger("app").warning("stop", extra={"key": value, "absent": None})
    assert stream.getvalue().endswith(f"app: stop {shown}\n")


def test_a_traceback_comes_after_the_context(stream: io.StringIO) -> None:
    try:
        raise LookupError("nothing here")
    except LookupError:
        logging.getLogger("app").exception("failed", extra={"step": "find"})
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("app: failed step=find")
    assert rest[-1] == "LookupError: nothing here"


def test_lines_below_the_level_are_left_out(stream: io.StringIO) -> None:
    logging.getLogger("app").debug("too much")
    assert stream.getvalue() == ""


def test_configuring_twice_does_not_write_twice(stream: io.StringIO) -> None:
    logs.configure("warning", stream)
    logging.getLogger("app").info("quiet now")
    logging.getLogger("app").warning("once")
    assert stream.getvalue().count("\n") == 1


def test_handlers_of_the_application_are_left_alone(stream: io.StringIO) -> None:
    mine = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(mine)
    logs.configure("info", stream)
    assert mine in logging.getLogger().handlers


def test_the_handler_of_the_root_is_the_applications_if_it_has_set_one() -> None:
    mine, ours = io.StringIO(), io.StringIO()
    logging.getLogger().handlers.clear()
    logs.configure("info", ours)
    logging.basicConfig(stream=mine, level="WARNING")
    logs.adopt_root()
    logging.getLogger("app").warning("from the application")
    logging.getLogger("owsuper.child").info("from us")
    assert mine.getvalue() == "WARNING:app:from the application\n"
    assert "from us" in ours.getvalue()
    assert "from the application" not in ours.getvalue()


def test_what_is_logged_before_the_application_could_set_one_is_seen(stream: io.StringIO) -> None:
    logging.getLogger().handlers.clear()
    logging.getLogger("app").info("while it is imported")
    assert stream.getvalue().endswith(f"INFO {os.getpid()} app: while it is imported\n")


def test_every_logger_of_the_package_is_listed() -> None:
    used = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r'getLogger\("(owsuper[\w.]*)"\)', path.read_text())
    }
    assert used <= set(logs.LOGGERS)


# --- standard error that is not read, closed or gone -----------------------------------------

# Logs numbered lines to standard error, as a supervisor does, and reports on standard output.
LOG = """
import logging, sys
from owsuper import logs
logs.configure("info", patience=float(sys.argv[1]))
log = logging.getLogger("owsuper.supervisor")
print("begun", flush=True)
for line in sys.stdin:
    for number in range(int(line)):
        log.info("line %06d %s", number, "x" * 80)
    print("logged", flush=True)
"""


class Logging:
    """A process that logs as many lines as it is told to."""

    def __init__(self, stderr: int, *, patience: float = 0.05) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOG, str(patience)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=PACKAGE.parent,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "begun\n"

    def log(self, lines: int) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{lines}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "logged\n"

    def close(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0


def full_pipe(kind: str) -> tuple[int, int]:
    """A reading and a writing end."""
    if kind == "socket":  # as systemd's journal
        ours, theirs = socket.socketpair()
        return ours.detach(), theirs.detach()
    if kind == "terminal":
        return os.openpty()
    return os.pipe()


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_lines_that_nobody_reads_do_not_stop_the_process_and_are_counted(kind: str) -> None:
    reader, writer = full_pipe(kind)
    process = Logging(writer)
    process.log(5000)  # 600 KB
    os.set_blocking(reader, False)
    text = read_all(reader)
    process.log(1)
    give_up_at = time.monotonic() + 30
    while not re.search(r"line 000000 x{80}\r?\n\Z", text):  # a terminal hands it on a bit later
        assert time.monotonic() < give_up_at, text[-500:]
        text += read_all(reader)
    os.close(writer)
    process.close()
    os.close(reader)
    *lines, notice, last = text.splitlines()
    assert all(re.search(r"line (\d{6}) x{80}$", line) for line in lines)  # none is torn
    found = re.search(
        r"WARNING\S* .* lines that could not be written before this one: (\d+)", notice
    )
    assert found
    assert len(lines) + int(found[1]) == 5000
    assert "line 000000" in last


def read_all(reader: int) -> str:
    text = b""
    while True:
        try:
            data = os.read(reader, 65536)
        except BlockingIOError:
            return text.decode()
        text += data


def test_the_descriptor_that_others_share_stays_blocking() -> None:
    reader, writer = os.pipe()
    process = Logging(writer)
    process.log(5000)
    assert os.get_blocking(writer)
    os.close(reader)
    process.close()
    os.close(writer)


def test_no_line_is_lost_to_a_reader_that_is_slow_but_reads() -> None:
    reader, writer = os.pipe()
    process = Logging(writer, patience=600)
    os.close(writer)
    found: list[str] = []

    def read() -> None:
        with os.fdopen(reader) as lines:
            found.extend(lines)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(20):
        process.log(100)
    process.close()
    thread.join()
    assert len(found) == 2000


@pytest.mark.parametrize(
    "before", ["import os; os.close(2)", "import sys; sys.stderr = None", "import os; os.close(1)"]
)
def test_a_closed_stream_is_no_error(before: str) -> None:
    code = f"{before}\n" + LOG.partition("print(")[0] + "log.info('unheard')\n"
    done = subprocess.run(
        [sys.executable, "-c", code, "1"], cwd=PACKAGE.parent, check=False, timeout=60
    )
    assert done.returncode == 0


def test_a_reader_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    process = Logging(writer)
    os.close(reader)
    process.log(10)
    process.close()
    os.close(writer)


def test_a_fork_writes_no_line_of_its_parent_and_keeps_no_descriptor_of_its_own(
    tmp_path: Path,
) -> None:
    code = (
        "import logging, os\nfrom owsuper import logs\n"
        "def count(): print(len(os.listdir('/proc/self/fd')), flush=True)\n"
        "count()\nlogs.configure('info')\n"
        "log = logging.getLogger('owsuper.child')\nlog.info('before')\n"
        "pid = os.fork()\nif not pid: count()\n"
        "log.info('in %s', 'the parent' if pid else 'the fork')\n"
        "if pid: os.waitpid(pid, 0)\nelse: os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60
    )
    before, in_the_fork = done.stdout.split()
    assert in_the_fork == before
    said = sorted(line.rpartition(": ")[2] for line in done.stderr.splitlines())
    assert said == ["before", "in the fork", "in the parent"]


def logged(reader: int, writer: int, **environment: str) -> bytes:
    """What a process writes to its standard error when it logs a warning."""
    script = (
        "import logging; from owsuper import logs; logs.configure('info');"
        " logging.getLogger('owsuper.child').warning('stop')"
    )
    subprocess.run(
        [sys.executable, "-c", script], stderr=writer, env=os.environ | environment, check=True
    )
    return os.read(reader, 4096)


def test_lines_for_the_journal_begin_with_their_priority() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = os.fstat(theirs.fileno())
        stream = f"{found.st_dev}:{found.st_ino}"
        line = logged(ours.fileno(), theirs.fileno(), JOURNAL_STREAM=stream)
        assert line.startswith(b"<4>")
        assert not logged(ours.fileno(), theirs.fileno(), JOURNAL_STREAM="1:2").startswith(b"<")


def test_levels_have_colors_on_a_terminal_unless_nobody_wants_them() -> None:
    ours, theirs = os.openpty()
    assert b"\x1b[33mWARNING\x1b[0m" in logged(ours, theirs, NO_COLOR="", TERM="xterm")
    assert b"\x1b" not in logged(ours, theirs, NO_COLOR="1", TERM="xterm")
    os.close(theirs)
    os.close(ours)
