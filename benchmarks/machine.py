"""The machine and the server on which the figures were measured."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.server import Server

QUIET = 0.5
"""Above this load per core, over the last minute, figures are worthless."""


@dataclass(frozen=True, slots=True)
class Machine:
    """``facts`` are names and values. ``warnings`` are reasons why the figures are worthless."""

    facts: list[tuple[str, str]]
    warnings: list[str]


def describe(server: Server) -> Machine:
    """Describe the machine before anything is measured."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    version, fsync, synchronous = _database(server)
    facts = [
        ("Date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("CPU", f"{_cpu()}, {cores} cores"),
        ("Memory", f"{_memory():.1f} GiB"),
        ("Kernel", f"{platform.system()} {platform.release()}"),
        ("Load before", f"{load:.2f} (1-minute average)"),
        ("Python", platform.python_version()),
        ("PostgreSQL", f"{version}, {server.where}"),
        ("Settings", f"fsync {fsync}, synchronous_commit {synchronous}"),
        ("owsuper", _version()),
    ]
    warnings = []
    if load > QUIET * cores:
        warnings.append(
            f"THE MACHINE WAS BUSY (load {load:.2f} on {cores} cores before anything was "
            "measured): these figures are worthless."
        )
    if (fsync, synchronous) != ("on", "on"):
        warnings.append("Commits were not flushed to disk: these figures are no server's.")
    return Machine(facts, warnings)


def _database(server: Server) -> tuple[str, str, str]:
    with server.connect() as conn:
        row = conn.execute(
            "SELECT current_setting('server_version'), current_setting('fsync'),"
            " current_setting('synchronous_commit')"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _version() -> str:
    try:
        return metadata.version("owsuper")
    except metadata.PackageNotFoundError:
        return "a checkout that is not installed"
