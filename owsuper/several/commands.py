"""With what each of several workers is started: its arguments and its environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from owsuper.errors import ConfigurationError
from owsuper.settings import Settings, variable_name
from owsuper.several.labels import labels

_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """One worker: the arguments of ``owsuper``, and additions to its environment.

    The URL is in the environment, because other users of the machine can read arguments.
    """

    label: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


def commands(
    arguments: Sequence[str], settings: Settings, urls: Sequence[str]
) -> list[WorkerCommand]:
    """Return the command for a worker of each database of ``urls``.

    ``arguments`` are those that were typed, without URLs, and ``settings`` is what they and all
    other sources say. Each worker has a metrics port of its own: the next one. Raises
    ConfigurationError for what several workers cannot have.
    """
    if len(set(urls)) < len(urls):
        raise ConfigurationError(
            "--database-url: one database is given twice. One worker serves it; for more"
            " processes, raise --processes"
        )
    if settings.listen_url is not None:
        raise ConfigurationError(
            "--listen-url belongs to one database, and several are given. Leave it out, also in"
            f" {variable_name('listen_url')} and pyproject.toml, or start a worker for each"
            " database yourself"
        )
    port = settings.metrics_port
    if port is not None and port + len(urls) - 1 > _LAST_PORT:
        raise ConfigurationError(
            f"--metrics-port: {len(urls)} databases need as many ports, from {port} on, and"
            f" {_LAST_PORT} is the last"
        )
    return [
        WorkerCommand(
            label,
            [
                *("worker", *arguments, f"--database-label={label}"),
                *([] if port is None else [f"--metrics-port={port + number}"]),
            ],
            {variable_name("database_url"): url},
        )
        for number, (label, url) in enumerate(zip(labels(urls), urls, strict=True))
    ]
