"""Faults: how long until a step runs again, by what ended it; how long code that spins is borne.

As in ``recovery``, the time ends with the first line of the step in another process. Code that
spins is given ``--kill-grace`` to stop: these figures are what is beyond the grace, and beyond the
time-out of the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from socket import socket

from benchmarks.app import TIMEOUT
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import WAIT_SECONDS, BenchmarkError, RecoveryProbe, recovery_probe
from owsuper.cli.bench import quantile

GRACE = 0.2  # seconds
KILLS = {"SIGSEGV": b"segfault", "os.abort()": b"abort", "os._exit()": b"exit"}


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    # The worker's log would report each dead child.
    with (
        recovery_probe() as probe,
        environment(server) as env,
        env.worker(2, 1, log_level="critical", kill_grace=GRACE),
    ):
        for words, command in KILLS.items():
            tell = partial(_tell, command)
            seconds = partial(probe.seconds, env.client, tell, "break-down")
            name = f"recovery: {words} in a step to that step running elsewhere, p50"
            yield _figure(f"faults.{command.decode()}.p50", name, seconds, sizes)
        name = "a step that spins: from its time-out and grace to that step running elsewhere, p50"
        yield _figure("faults.timeout.p50", name, partial(_time_out, probe, env), sizes)
        name = "a step that spins: from cancel() and the grace to the end of its process, p50"
        yield _figure("faults.cancel.p50", name, partial(_cancel, probe, env), sizes)


def _figure(key: str, name: str, seconds: Callable[[], float], sizes: Sizes) -> Figure:
    repetitions = [
        [seconds() * 1e3 for _ in range(max(2, sizes.kills // 4))] for _ in range(sizes.repetitions)
    ]
    together = [each for repetition in repetitions for each in repetition]
    values = tuple(quantile(each, 0.5) for each in repetitions)
    return Figure(key, name, "ms", values, 1, middle=quantile(together, 0.5))


def _tell(command: bytes, step: socket, _pid: int) -> None:
    step.sendall(command)


def _time_out(probe: RecoveryProbe, env: Environment) -> float:
    seconds = probe.seconds(env.client, partial(_tell, b"spin"), "break-down")
    return seconds - TIMEOUT - GRACE


def _cancel(probe: RecoveryProbe, env: Environment) -> float:
    handle = env.client.run_workflow("break-down")
    step, _, pid = probe.next_execution()
    with step:
        step.sendall(b"spin")
        began = time.monotonic()
        handle.cancel()
        _await_end(pid)
    return time.monotonic() - began - GRACE


def _await_end(pid: int) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > give_up_at:
            raise BenchmarkError(f"process {pid} did not end within {WAIT_SECONDS:g} s")
        time.sleep(0.001)
