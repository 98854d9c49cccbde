"""The environment of each peer, which is created on request."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers.roster import Peer

CACHE = Path(__file__).with_name(".installed")
LEAST_NODE = 20
TIMEOUT = 600.0


class PeerError(Exception):
    """A peer was not measured; the message is for the table."""


def home(peer: Peer) -> Path:
    """The directory of the peer's environment, one for each version."""
    return CACHE / peer.title.lower().replace(" ", "-").replace(",", "")


def command(peer: Peer) -> list[str]:
    """The command of the peer's program. Raises PeerError if the peer is not installed."""
    if not peer.packages:
        return [sys.executable, str(peer.path)]
    if not _marker(peer).exists():
        raise PeerError("not installed; python -m benchmarks.peers --install does that")
    if peer.tool == "npm":
        return [_node(), str(peer.path)]
    return [str(home(peer) / "bin" / "python"), str(peer.path)]


def install(peer: Peer) -> None:
    """Install the peer if needed. Raises PeerError if that is impossible."""
    if not peer.packages or _marker(peer).exists():
        return
    shutil.rmtree(home(peer), ignore_errors=True)
    home(peer).mkdir(parents=True)
    if peer.tool == "npm":
        _node()
        manifest = home(peer) / "package.json"
        manifest.write_text(json.dumps({"private": True}), "utf-8")
        _run(["npm", "install", "--no-audit", "--no-fund", *peer.packages], home(peer))
    else:
        _run([_python(peer.least_python), "-m", "venv", str(home(peer))], home(peer))
        python = str(home(peer) / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", *peer.packages], home(peer))
    _marker(peer).touch()


def _marker(peer: Peer) -> Path:
    """A file that exists when the installation is complete."""
    return home(peer) / ".complete"


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise PeerError("there is no node on PATH")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    if int(version.stdout.strip().lstrip("v").partition(".")[0] or 0) < LEAST_NODE:
        raise PeerError(f"node {LEAST_NODE} or newer is needed, not {version.stdout.strip()}")
    return node


def _python(least: tuple[int, int]) -> str:
    """This interpreter, or another that is new enough, on PATH or among pyenv's."""
    check = f"import sys; sys.exit(sys.version_info < {least})"
    for python in _pythons():
        ran = subprocess.run([python, "-c", check], capture_output=True, check=False)
        if ran.returncode == 0:
            return python
    raise PeerError(f"there is no Python {least[0]}.{least[1]} or newer")


def _pythons() -> Iterator[str]:
    yield sys.executable
    for name in ("python3.12", "python3.13", "python3.14", "python3"):
        if found := shutil.which(name):
            yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(str(path) for path in pyenv.glob("versions/*/bin/python"))


def _run(arguments: list[str], directory: Path) -> None:
    try:
        ran = subprocess.run(
            arguments, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{arguments[0]}: {error}") from None
    if ran.returncode != 0:
        last = (ran.stderr.strip() or ran.stdout.strip() or "no output").splitlines()[-1]
        raise PeerError(f"{Path(arguments[0]).name} failed: {last}")
