"""``owsuper bench``: measures how fast owsuper is on this machine with this database."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import platform
import shutil
import signal
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psycopg

from owsuper import OpenWorkflow, embedded, setting_sources
from owsuper.bench import samples
from owsuper.cli import tables
from owsuper.cli.arguments import Command, add_settings, flags
from owsuper.cli.output import print_data, print_message
from owsuper.db.connect import connect
from owsuper.errors import ConfigurationError, DatabaseError
from owsuper.supervisor.exit_status import ExitCode

_ABOUT: Final = """\
measurements:
{measurements}

The command creates schemas bench_* and drops each after its measurement, also on Ctrl-C, and
keeps the server as busy as it can. The role must be allowed to create schemas. Other work on the
server or on this machine makes the figures worthless. Without a database URL, the command starts
an embedded server in a temporary directory. The figures go to standard output.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The size of a measurement: latency samples, seconds and kills in each of ``repetitions``."""

    repetitions: int
    samples: int
    seconds: float
    kills: int


FULL: Final = Sizes(repetitions=3, samples=300, seconds=3.0, kills=40)
QUICK: Final = Sizes(repetitions=1, samples=10, seconds=0.3, kills=2)
_SHOWN: Final = ("server_version", "fsync", "synchronous_commit")
WARM_UP: Final = 20  # samples that do not count
PILOT_RUNS: Final = 500
MOST_RUNS: Final = 50_000
SLOTS: Final = (1, 16)
CALLERS: Final = 16


@dataclass(frozen=True, slots=True)
class Row:
    """One measured quantity, with one value for each repetition."""

    name: str
    unit: str
    values: Sequence[float]

    def cells(self) -> tuple[str, str, str, str]:
        """Return the name, the median, the lowest to the highest value, and the unit."""
        low, high = number(min(self.values)), number(max(self.values))
        return self.name, number(statistics.median(self.values)), f"{low} to {high}", self.unit


def number(value: float) -> str:
    """Return ``value`` with three significant digits or more."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def quantile(samples: Sequence[float], part: float) -> float:
    """Return the smallest sample that at least ``part`` (0 to 1) of all samples do not exceed."""
    return sorted(samples)[max(math.ceil(part * len(samples)) - 1, 0)]


# --- the measurements --------------------------------------------------------------------------


def _pickup(url: str, sizes: Sizes) -> Iterator[Row]:
    with _idle_worker(url) as client:
        sample = partial(samples.pickup_seconds, client)
        yield from _latencies("pickup: run() to the first line of its step", sample, sizes)


def _roundtrip(url: str, sizes: Sizes) -> Iterator[Row]:
    with _idle_worker(url) as client:
        sample = partial(samples.roundtrip_seconds, client)
        yield from _latencies("round trip: run() to result(), 1 step", sample, sizes)


def _throughput(url: str, sizes: Sizes) -> Iterator[Row]:
    for slots in SLOTS:
        rate = samples.backlog_rate(url, slots, PILOT_RUNS)
        runs = min(max(PILOT_RUNS, round(rate * sizes.seconds)), MOST_RUNS)
        rates = [samples.backlog_rate(url, slots, runs) for _ in range(sizes.repetitions)]
        shown = f"{slots} slot{'s' if slots > 1 else ''}"
        yield Row(
            f"throughput: 1 step, {samples.PROCESSES} processes with {shown}", "runs/s", rates
        )


def _enqueue(url: str, sizes: Sizes) -> Iterator[Row]:
    with _idle_worker(url) as client:
        for threads in (1, CALLERS):
            rates = [
                samples.thread_rate(client, threads, sizes.seconds)
                for _ in range(sizes.repetitions)
            ]
            shown = f"{threads} thread{'s' if threads > 1 else ''}"
            yield Row(f"enqueue: run() by {shown}, worker busy", "runs/s", rates)
        rates = [
            asyncio.run(samples.task_rate(client, CALLERS, sizes.seconds))
            for _ in range(sizes.repetitions)
        ]
        yield Row(f"enqueue: arun() by {CALLERS} asyncio tasks, worker busy", "runs/s", rates)


def _recovery(url: str, sizes: Sizes) -> Iterator[Row]:
    # The worker's log would report each killed process.
    with samples.recovery_probe() as probe, _idle_worker(url, log_level="critical") as client:
        taken = [
            [probe.seconds(client) for _ in range(sizes.kills)] for _ in range(sizes.repetitions)
        ]
    yield from _quantiles("recovery: SIGKILL in a step to the step running elsewhere", taken)


@contextmanager
def _idle_worker(url: str, *, log_level: str = "warning") -> Iterator[OpenWorkflow]:
    """Yield a client of a new schema with an idle worker."""
    with (
        samples.schema(url) as name,
        closing(samples.new_client(url, name)) as client,
        samples.new_worker(client, log_level=log_level),
    ):
        yield client


def _latencies(name: str, sample: Callable[[], float], sizes: Sizes) -> Iterator[Row]:
    for _ in range(WARM_UP):
        sample()
    taken = [[sample() for _ in range(sizes.samples)] for _ in range(sizes.repetitions)]
    yield from _quantiles(name, taken)


def _quantiles(name: str, repetitions: Sequence[Sequence[float]]) -> Iterator[Row]:
    """Yield rows of p50 and p99. Samples are in seconds, values in milliseconds."""
    for percent in (50, 99):
        values = [quantile(each, percent / 100) * 1e3 for each in repetitions]
        yield Row(f"{name}, p{percent}", "ms", values)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement; ``about`` describes it in the help."""

    take: Callable[[str, Sizes], Iterator[Row]]
    about: str


MEASUREMENTS: Final[dict[str, Measurement]] = {
    "pickup": Measurement(_pickup, "from run() to the first line of its step"),
    "roundtrip": Measurement(_roundtrip, "from run() to result()"),
    "throughput": Measurement(_throughput, "runs a second, with one slot a process and with many"),
    "enqueue": Measurement(_enqueue, "runs started a second by threads and by asyncio tasks"),
    "recovery": Measurement(_recovery, "from the SIGKILL of a process to its step running again"),
}


# --- the server --------------------------------------------------------------------------------


@contextmanager
def embedded_or_given(url: str | None) -> Iterator[str]:
    """Yield the URL of the server to measure: ``url``, or that of an embedded server.

    The embedded server stops at the end. Raises EmbeddedUnavailable.
    """
    if url is not None:
        yield url
        return
    directory = Path(tempfile.mkdtemp(prefix="owsuper-bench-")).resolve()
    try:
        directory.chmod(0o711)  # when root asks for a server, the server runs as another user
        options = {"fsync": "on", "synchronous_commit": "on"}
        with embedded.acquire(directory, options=options, temporary=True) as lease:
            yield lease.url
    finally:
        # The server's keeper removes the directory after the server, if it ever started.
        if not (directory / "keeper").exists():
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def undisturbed(report: Callable[[str], None]) -> Iterator[None]:
    """Ignore OWSUPER_* variables, and let one INT or TERM end the measurement in order.

    A second signal does not interrupt the clean-up. OWSUPER_LISTEN_URL stays in force.
    """
    names = [n for n in os.environ if n.startswith("OWSUPER_") and n != "OWSUPER_LISTEN_URL"]
    removed = {name: os.environ.pop(name) for name in names}

    def stop(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, frame: None)
        report("stopping; what was created is being dropped")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.environ.update(removed)


def _describe(url: str) -> str:
    """Return a description of the server and the machine on one line."""
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in _SHOWN)
    with connect(url, application_name=samples.APPLICATION_NAME) as conn:
        [values] = conn.execute(query.encode()).fetchall()
    return (
        f"{', '.join(map(' '.join, zip(_SHOWN, values, strict=True)))};"
        f" Python {platform.python_version()}, {os.cpu_count()} cores,"
        f" load before {os.getloadavg()[0]:.2f}"
    )


# --- the command -------------------------------------------------------------------------------


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, ("database_url",))
    parser.add_argument(
        "measurements", nargs="*", metavar="MEASUREMENT", help="only these; see below"
    )
    parser.add_argument("--quick", action="store_true", help="only check that it works")
    known = "\n".join(f"  {name:<11} {each.about}" for name, each in MEASUREMENTS.items())
    parser.epilog = _ABOUT.format(measurements=known)


def _run(arguments: argparse.Namespace) -> int:
    chosen = setting_sources.load(flags(arguments))
    names = vars(arguments).get("measurements") or list(MEASUREMENTS)
    for name in names:
        if name not in MEASUREMENTS:
            raise ConfigurationError(
                f"no such measurement: {name}; there are {', '.join(MEASUREMENTS)}"
            )
    rows: list[Row] = []
    with undisturbed(print_message), embedded_or_given(chosen.database_url) as url:
        described = _describe(url)
        for name in names:
            print_message(f"measuring {name}")
            try:
                rows += MEASUREMENTS[name].take(url, QUICK if "quick" in arguments else FULL)
            except psycopg.Error as error:
                raise DatabaseError(f"PostgreSQL refused a statement: {error}") from error
    head = ("measured", "median", "lowest to highest", "unit")
    print_data(described)
    print_data("\n".join(tables.table([head, *(row.cells() for row in rows)], right=(1,))))
    return ExitCode.CLEAN


COMMAND = Command("Measure how fast owsuper is with this database", _add_options, _run)
