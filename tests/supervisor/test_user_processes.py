"""What the processes find that a step starts, by fork, spawn, forkserver and exec."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.worker import Begin

FLOWS = '''
import json, multiprocessing, os, signal, subprocess, sys, threading, time
from pathlib import Path
from owsuper import OpenWorkflow

ow = OpenWorkflow()

def names_of(numbers):
    return sorted(signal.Signals(number).name for number in numbers)

def situation(pipe=None):
    """Which signals are handled, ignored or blocked, and which descriptors beyond 0, 1 and 2."""
    every = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    found = {
        "handled": names_of(n for n in every if callable(signal.getsignal(n))),
        "ignored": names_of(n for n in every if signal.getsignal(n) is signal.SIG_IGN),
        "blocked": names_of(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "wakeup": signal.set_wakeup_fd(-1),
        "open": sorted(
            target
            for fd in os.listdir("/proc/self/fd") if int(fd) > 2
            for target in [link(fd)] if target.startswith(("socket:", "/memfd", "anon_inode"))
        ),
    }
    if pipe is not None:
        pipe.send(found)
    return found

def link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""  # the descriptor of the listing itself

def by_multiprocessing(method):
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe(duplex=False)  # not a socket
    process = context.Process(target=situation, args=(theirs,))
    process.start()
    theirs.close()
    found = ours.recv()
    process.join()
    return found

def by_fork():
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, json.dumps(situation()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        return json.loads(answer.read())

def by_exec(**options):
    code = "import flows, json; print(json.dumps(flows.situation()))"
    command = [sys.executable, "-c", code]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, **options).stdout)

def kernel_masks():
    """What the kernel ignores and blocks in a program that is not Python."""
    status = subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE, check=True)
    lines = dict(line.split(":\\t", 1) for line in status.stdout.decode().splitlines())
    ours_to_set = sum(1 << number - 1 for number in signal.valid_signals())
    return {name: int(lines[name], 16) & ours_to_set for name in ("SigBlk", "SigIgn")}

def terminate():
    """How a process ends that is terminated as soon as it is started."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join(30)
    process.kill()
    return process.exitcode

def interrupt():
    process = subprocess.Popen(["sleep", "60"])
    process.send_signal(signal.SIGINT)
    return process.wait(30)

def leave_busy_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        pool.apply_async(time.sleep, (600,))
        assert pool.apply(abs, (-7,)) == 7
    return "left"

STARTS = {
    "multiprocessing fork": lambda: by_multiprocessing("fork"),
    "multiprocessing spawn": lambda: by_multiprocessing("spawn"),
    "multiprocessing forkserver": lambda: by_multiprocessing("forkserver"),
    "os.fork": by_fork,
    "exec": by_exec,
    "exec with preexec_fn": lambda: by_exec(preexec_fn=os.getpid),
    "exec without close_fds": lambda: by_exec(close_fds=False),
    "masks": kernel_masks,
    "terminate": terminate,
    "interrupt": interrupt,
    "busy pool, fork": lambda: leave_busy_pool("fork"),
    "busy pool, spawn": lambda: leave_busy_pool("spawn"),
    "busy pool, forkserver": lambda: leave_busy_pool("forkserver"),
}

@ow.workflow("start")
def start(step, input: dict):
    return step.run("start", STARTS[input["how"]])

@ow.workflow("astart")
async def astart(step, input: dict):
    return await step.run("start", STARTS[input["how"]])
'''

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def outcome(begin: Begin, tmp_path: Path) -> Any:
    def run(how: str, workflow: str = "start", *options: str) -> Any:
        (tmp_path / "flows.py").write_text(FLOWS)
        worker = begin("--processes=1", *options)
        run_id = worker.start(workflow, how=how)
        worker.await_outcome(run_id)
        output = json.loads(worker.get(run_id).output or "null")
        assert worker.stop() == 0
        return output

    return run


# What a process finds that a plain Python program starts.
DEFAULT = {
    "handled": ["SIGINT"],  # raises KeyboardInterrupt
    "ignored": ["SIGPIPE", "SIGXFSZ"],  # by Python itself, at its start
    "blocked": [],
    "wakeup": -1,
    "open": [],
}


@linux
@pytest.mark.parametrize(
    "how",
    [
        "multiprocessing fork",
        pytest.param("multiprocessing spawn", marks=pytest.mark.slow),
        pytest.param("multiprocessing forkserver", marks=pytest.mark.slow),
        "os.fork",
        "exec",
        "exec with preexec_fn",
        "exec without close_fds",
    ],
)
def test_a_process_that_a_step_starts_has_default_signals_and_no_descriptor_of_ours(
    outcome: Any, how: str
) -> None:
    assert outcome(how) == DEFAULT


@pytest.mark.slow
@linux
def test_so_does_a_fork_of_a_child_that_has_imported_the_application_itself(outcome: Any) -> None:
    assert outcome("os.fork", "start", "--no-preload") == DEFAULT


@pytest.mark.slow
@linux
def test_a_program_that_a_step_executes_ignores_and_blocks_no_signal(outcome: Any) -> None:
    assert outcome("masks") == {"SigBlk": 0, "SigIgn": 0}


@pytest.mark.parametrize("workflow", ["start", "astart"])
def test_a_process_that_is_terminated_at_once_ends_by_that(outcome: Any, workflow: str) -> None:
    assert outcome("terminate", workflow) == -signal.SIGTERM


def test_a_program_that_a_step_interrupts_ends_by_that(outcome: Any) -> None:
    assert outcome("interrupt") == -signal.SIGINT


@pytest.mark.parametrize(
    "method",
    [
        "fork",
        pytest.param("spawn", marks=pytest.mark.slow),
        pytest.param("forkserver", marks=pytest.mark.slow),
    ],
)
def test_a_step_leaves_a_busy_pool_at_once(outcome: Any, method: str) -> None:
    assert outcome(f"busy pool, {method}") == "left"
