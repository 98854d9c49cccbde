"""The settings of a worker and a client, as one frozen ``Settings``.

Every setting has one name in four spellings: ``--poll-interval`` on the command line,
``OWSUPER_POLL_INTERVAL`` in the environment, ``poll-interval`` under ``[tool.owsuper]`` in
./pyproject.toml, and the field ``poll_interval`` here. Two differ: the flag of ``modules`` is
``--module``, because it repeats, and that of ``except_`` is ``--except``. ``setting_sources`` reads
them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from owsuper import setting_types as types
from owsuper.errors import ConfigurationError
from owsuper.setting_types import SettingType


def _processors() -> int:
    """Return the number of processors of this process; a container may have fewer than its host."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a worker or a client. Durations are in seconds.

    ``borrowed`` holds the names of the BORROWED variables in use. ``database_label`` names the
    database in log lines if there are workers for others beside this one; else it is empty.

    ``given`` holds the names of the fields that came from flags. A flag wins over the
    application's own ``OpenWorkflow(namespace=...)``, which wins over the environment and
    pyproject.toml, for the worker and for the application's clients. Raises ConfigurationError for
    an invalid value.
    """

    modules: tuple[str, ...] = field(
        default=(),
        metadata=types.described(
            types.modules,
            "module with workflows: pkg.mod, pkg.mod:ow, or a path such as app/flows.py; repeats",
        ),
    )
    only: tuple[str, ...] = field(
        default=(),
        metadata=types.described(
            types.patterns,
            "serve only the workflows of this name, or of a pattern such as 'report-*'; repeats",
            metavar="NAME",
        ),
    )
    except_: tuple[str, ...] = field(
        default=(),
        metadata=types.described(
            types.patterns,
            "leave out the workflows of this name, or of a pattern, --only or not; repeats",
            metavar="NAME",
        ),
    )
    processes: int = field(
        default_factory=_processors,
        metadata=types.described(
            types.whole(1, 1000), "number of child processes; default: one per processor"
        ),
    )
    concurrency: int = field(
        default=1,
        metadata=types.described(
            types.whole(1, 1000), "number of runs that a child process executes at a time"
        ),
    )
    database_url: str | None = field(
        default=None,
        repr=False,  # may hold a password
        metadata=types.described(
            types.url,
            "the database, such as postgresql://user@host/db; default: the application's own, or"
            " an embedded server in .owsuper/",
        ),
    )
    listen_url: str | None = field(
        default=None,
        repr=False,
        metadata=types.described(
            types.url,
            "database for LISTEN, when --database-url is a transaction pooler (which drops LISTEN)",
        ),
    )
    namespace: str = field(
        default="default",
        metadata=types.described(types.text, "namespace of the runs"),
    )
    schema: str = field(
        default="openworkflow",
        metadata=types.described(types.schema, "schema of the tables"),
    )
    poll_interval: float = field(
        default=2.0,
        metadata=types.described(
            types.duration("10ms", "1h"),
            "longest time between two polls for due runs; LISTEN wakes the worker earlier",
        ),
    )
    call_timeout: float = field(
        default=30.0,
        metadata=types.described(
            types.duration("1s", "1d"),
            "longest time that a call of a client may take, apart from waiting for a result",
        ),
    )
    lease: float = field(
        default=30.0,
        metadata=types.described(
            types.duration("1s", "1d"),
            "time without a heartbeat after which another worker may claim a run",
        ),
    )
    graceful_timeout: float = field(
        default=25.0,
        metadata=types.described(
            types.duration("0s", "1d"), "time for runs to finish when the worker stops"
        ),
    )
    burst: bool = field(
        default=False,
        metadata=types.described(
            types.switch, "stop, with exit code 0, once no run is due: for cron jobs and tests"
        ),
    )
    kill_grace: float = field(
        default=5.0,
        metadata=types.described(
            types.duration("100ms", "1h"),
            "time for code to stop after a step's timeout, a deadline or a cancellation, before its"
            " process is killed",
        ),
    )
    max_crashes: int = field(
        default=3,
        metadata=types.described(
            types.whole(1, 1000),
            "number of times that a run may kill its process; with the last of them it fails",
            metavar="NUMBER",
        ),
    )
    max_runs_per_child: int | None = field(
        default=None,
        metadata=types.described(
            types.or_off(types.whole(1, 1_000_000_000)),
            "number of runs after which a child process is replaced, for code that leaks; up to a"
            " tenth fewer",
            metavar="NUMBER",
        ),
    )
    hang_timeout: float | None = field(
        default=None,
        metadata=types.described(
            types.or_off(types.duration("2s", "1d")),
            "time without a sign of life after which a child process is killed and replaced; a step"
            " that holds the GIL gives none",
            metavar="DURATION",
        ),
    )
    max_memory_per_child: int | None = field(
        default=None,
        metadata=types.described(
            types.or_off(types.size),
            "resident memory of a child process, such as 500M, above which it is replaced, and"
            " killed if a run makes it grow",
            metavar="SIZE",
        ),
    )
    log_level: str = field(
        default="info",
        metadata=types.described(
            types.one_of(*types.LOG_LEVELS),
            f"lowest level of log lines: {', '.join(types.LOG_LEVELS)}",
        ),
    )
    log_format: str = field(
        default="text",
        metadata=types.described(types.one_of(*types.LOG_FORMATS), "log lines as text or as json"),
    )
    log_config: str | None = field(
        default=None,
        metadata=types.described(
            types.file,
            "file for Python's logging.config: a dictionary as .json or .toml, or an .ini file",
            metavar="FILE",
        ),
    )
    log_replay: bool = field(
        default=False,
        metadata=types.described(
            types.switch, "show what replayed code of workflow functions logs once more"
        ),
    )
    keep_logs: float | None = field(
        default=None,
        metadata=types.described(
            types.or_off(types.duration("1m", "10y")),
            "how long to keep the log lines of runs in the database, such as 7d",
            metavar="DURATION",
        ),
    )
    retain: tuple[str, ...] = field(
        default=(),
        metadata=types.described(
            types.retention,
            "how long to keep runs that have ended, such as 30d, failed=90d or workflow:NAME=7d;"
            " repeats",
            metavar="RULE",
        ),
    )
    archive: str | None = field(
        default=None,
        metadata=types.described(
            types.file,
            "directory for copies of the runs that --retain deletes, as JSON Lines",
            metavar="DIR",
        ),
    )
    listen: bool = field(
        default=True,
        metadata=types.described(types.switch, "wake by LISTEN, and not only by polling"),
    )
    migrate: bool = field(
        default=True,
        metadata=types.described(types.switch, "create or update the tables at start"),
    )
    preload: bool = field(
        default=True,
        metadata=types.described(
            types.switch, "import the application once, and not in every child process"
        ),
    )
    metrics_port: int | None = field(
        default=None,
        metadata=types.described(
            types.or_off(types.whole(1, 65535)),
            "port at which Prometheus reads metrics: http://127.0.0.1:PORT/metrics",
            metavar="PORT",
        ),
    )
    metrics_host: str = field(
        default="127.0.0.1",
        metadata=types.described(
            types.text, "address at which --metrics-port listens; 0.0.0.0: all addresses"
        ),
    )
    durable_claims: bool = field(
        default=False,
        metadata=types.described(
            types.switch, "flush claims to disk; the pickup of runs gets slower"
        ),
    )
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    borrowed: tuple[str, ...] = field(default=(), compare=False, repr=False)
    database_label: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, setting_type in SETTING_TYPES.items():
            try:
                object.__setattr__(self, name, setting_type.read(getattr(self, name)))
            except ConfigurationError as error:
                raise type(error)(f"{name}: {error}") from None


SETTING_TYPES: Mapping[str, SettingType] = {
    each.name: each.metadata["type"] for each in fields(Settings) if "type" in each.metadata
}


def option_name(name: str) -> str:
    """Return the spelling of the field ``name`` in flags and pyproject.toml: ``poll-interval``."""
    return "module" if name == "modules" else name.rstrip("_").replace("_", "-")


def variable_name(name: str) -> str:
    """Return the environment variable of the field ``name``: ``OWSUPER_POLL_INTERVAL``."""
    return "OWSUPER_" + option_name(name).upper().replace("-", "_")
