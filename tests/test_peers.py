"""The comparison with peers: with one that there is not, unless ``-m peers`` asks for the real."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from benchmarks import results
from benchmarks.peers import installing, records, report, session, workloads
from benchmarks.peers.installing import PeerError
from benchmarks.peers.records import Conditions, Measured, Record, Skipped
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.workloads import QUICK
from benchmarks.server import Server
from tests.fixtures.processes import Program, Spawn

COMMAND = [sys.executable, "-m", "benchmarks.peers"]
FAKE = Peer(
    name="Fake",
    version="1.0",
    program=str(Path(__file__).with_name("fixtures") / "fake_peer.py"),
    remaining="SELECT count(*) FROM jobs",
    settings="none to speak of",
    guess={1: 2000.0},
)
ALL_KEYS = {"rate.1", "commits.1", "wal.1", "pickup", "result", "enqueue", "recovery"}
DATABASES = "SELECT datname FROM pg_database WHERE starts_with(datname, 'peer_')"


def measure(url: str, *peers: Peer) -> list[Record]:
    server = Server(url, "the tests'")
    sizes = replace(QUICK, limit=60.0)
    return list(session.measure(server, peers, session.WORKLOADS, sizes, lambda text: None))


def keys(kept: Iterable[Record]) -> set[str]:
    return {each.key for each in kept if isinstance(each, Measured) and each.values}


def reasons(kept: Iterable[Record]) -> list[str]:
    return [each.reason for each in kept if isinstance(each, Skipped)]


def cells(lines: Iterable[str]) -> dict[str, list[str]]:
    """Of a table: the first cell of each line, and the others."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest for name, *rest in found}


@pytest.mark.slow
@pytest.mark.peers
def test_a_peer_goes_through_every_workload_and_leaves_no_database(
    request: pytest.FixtureRequest, database_url: str
) -> None:
    if "peers" not in str(request.config.getoption("markexpr")):
        pytest.skip("it can wait a minute for its client on a busy machine: asked for by -m peers")
    kept = measure(database_url, FAKE)
    assert reasons(kept) == []
    assert keys(kept) == ALL_KEYS
    values = {each.key: each.values for each in kept if isinstance(each, Measured)}
    # Each job is a transaction; besides, there are those that found nothing.
    assert values["commits.1"][0] >= 1
    assert len(values["pickup"]) == len(values["result"]) == QUICK.samples
    with psycopg.connect(database_url) as conn:
        assert conn.execute(DATABASES).fetchall() == []


@pytest.mark.slow
@pytest.mark.once
def test_a_peer_that_fails_is_skipped_with_its_last_words(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PEER", "broken")
    kept = measure(database_url, FAKE)
    assert keys(kept) == set()
    assert reasons(kept)
    assert [reason for reason in reasons(kept) if "I am broken" not in reason] == []


def test_a_peer_that_is_not_installed_is_skipped_and_told_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "CACHE", tmp_path)
    for peer in PEERS:
        if peer.packages:
            with pytest.raises(PeerError, match="--install"):
                installing.command(peer)


def test_a_python_that_is_nowhere_is_the_reason_why_a_peer_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "CACHE", tmp_path)
    monkeypatch.setattr(installing, "_pythons", lambda: iter([sys.executable]))
    absent = replace(FAKE, packages=("nothing==1",), least_python=(9, 9))
    with pytest.raises(PeerError, match=r"no Python 9\.9"):
        installing.install(absent)
    with pytest.raises(PeerError, match="not installed"):  # half an installation is none
        installing.command(absent)


def test_what_was_measured_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    kept = [
        Measured("Fake 1.0", "pickup", (0.001, 0.002), 0),
        Measured("Fake 1.0", "recovery", (), 0, "more than 130 s"),
        Skipped("Absent", "not installed"),
        Conditions((("CPU", "some"),), ("busy",), {"16": (7000.0, 8000.0)}),
    ]
    file = tmp_path / "session.jsonl"
    file.write_text("".join(records.dump(each) + "\n" for each in kept), "utf-8")
    assert list(records.load([file])) == kept
    file.write_text(json.dumps({"kind": "gossip"}), "utf-8")
    with pytest.raises(ValueError, match="gossip"):
        list(records.load([file]))


def test_rates_are_medians_with_their_spread_and_quantiles_are_of_all_samples() -> None:
    kept = [
        Measured("Fake 1.0", "rate.1", (value,), repetition)
        for repetition, value in enumerate([200.0, 100.0, 900.0])
    ]
    kept += [
        Measured("Fake 1.0", "pickup", tuple(n / 1e3 for n in range(start, start + 50)), 0)
        for start in (1, 51)
    ]
    kept.append(Measured("Fake 1.0", "recovery", (), 0, "more than 130 s"))
    kept.append(Measured("Other", "rate.1", (5.0,), 0))
    found = cells(report.table(kept))
    assert found[""] == ["Fake 1.0", "Other"]
    assert found["1-step runs/s (queues: jobs)"] == ["200 (100 – 900)", "5.00"]  # noqa: RUF001 - a dash, as in tables
    assert found["pickup p50, ms"] == ["50.0", report.NONE]
    assert found["pickup p99, ms"] == ["99.0", report.NONE]
    assert found["SIGKILL of a step's process to that step again, s"][0] == "more than 130 s"
    assert "steps/s, 10-step runs" not in found  # nobody has any


def test_the_report_says_who_was_skipped_and_what_is_incomplete() -> None:
    ours = PEERS[0].title
    text = "\n".join(
        report.lines(
            [
                Measured(ours, "rate.1", (1.0,), 0),
                Skipped(ours, "it fell over"),
                Skipped("Absent 2", "there is no node on PATH"),
                Conditions((("CPU", "some"),), ("THE MACHINE WAS BUSY",), {"1": (100.0, 300.0)}),
            ]
        )
    )
    assert f"- {ours}: incomplete: it fell over" in text
    assert "- Absent 2: skipped: there is no node on PATH" in text
    assert PEERS[0].settings in text
    assert text.startswith("**THE MACHINE WAS BUSY**")
    assert "200 with 1 client." in text


def test_a_backlog_is_as_large_as_the_rate_asks_for_within_bounds() -> None:
    assert workloads.backlog(1000.0, 2.0) == 2000
    assert workloads.backlog(0.1, 2.0) == workloads.LEAST
    assert workloads.backlog(1e9, 2.0) == workloads.MOST


def test_each_part_of_the_results_is_replaced_without_the_other(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    results.keep(ours="ours 1", path=path)
    assert path.read_text("utf-8") == results.OURS + "ours 1\n"
    results.keep(peers="peers 1", path=path)
    results.keep(ours="ours 2", path=path)
    assert path.read_text("utf-8") == f"{results.OURS}ours 2\n\n{results.PEERS}peers 1\n"
    results.keep(peers="peers 2", path=path)
    assert path.read_text("utf-8") == f"{results.OURS}ours 2\n\n{results.PEERS}peers 2\n"


def test_a_peer_that_does_not_exist_is_answered_by_those_that_do(
    spawn: Spawn, tmp_path: Path
) -> None:
    program: Program = spawn(*COMMAND, "--peer", "nobody", cwd=tmp_path)
    assert program.wait() == 2
    program.end()
    assert "no such peer; there are owsuper, " in program.stderr.text


@pytest.mark.slow
@pytest.mark.peers
def test_every_real_peer_that_is_installed_has_all_its_figures(
    request: pytest.FixtureRequest, database_url: str
) -> None:
    if "peers" not in str(request.config.getoption("markexpr")):
        pytest.skip("real peers are measured with -m peers, once they are installed")
    kept = measure(database_url, *PEERS)
    assert [reason for reason in reasons(kept) if "--install" not in reason] == []
    absent = {each.peer for each in kept if isinstance(each, Skipped)}
    for peer in PEERS:
        if peer.title not in absent:
            found = keys(each for each in kept if getattr(each, "peer", "") == peer.title)
            assert {"rate.1", "commits.1", "wal.1", "pickup", "enqueue"} <= found
            assert ("rate.10" in found) == (10 in peer.guess)
            assert ("result" in found) == peer.results
