"""The shop in examples/orders: its demonstration, its own tests, and what its README says."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.docs.documents import Document
from tests.fixtures.processes import ROOT, Spawn

pytestmark = [pytest.mark.slow, pytest.mark.once]

PAGE = Document("examples/orders/README.md")


def test_the_commands_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "$(bin)/python -m examples.orders $(ARGS)" in makefile
    for line in PAGE["make"].splitlines():
        assert line.startswith("make orders")


@PAGE.covers("make")
def test_an_order_is_shipped_although_its_worker_is_killed(spawn: Spawn, tmp_path: Path) -> None:
    """In an empty directory, with the embedded server."""
    program = spawn(sys.executable, "-W", "error", "-m", "examples.orders", cwd=tmp_path)
    assert program.wait(240) == 0, program.stdout.text + program.stderr.text
    program.end()
    printed = program.stdout.text
    assert re.search(r"^kill -KILL \d+: there is no worker now\.$", printed, re.M)
    assert re.search(r"^end: completed .*TRACK-000001", printed, re.M)
    assert json.loads(printed.splitlines()[-1])["status"] == "shipped"
    assert "Traceback" not in program.stderr.text


@PAGE.covers("pytest")
def test_the_tests_of_the_shop_pass(spawn: Spawn, database_url: str) -> None:
    _, *command = PAGE["pytest"].split()
    program = spawn(
        *(sys.executable, *command, "-q", "-p", "no:cacheprovider"),
        env={"OWSUPER_TEST_DATABASE_URL": database_url},
    )
    assert program.wait(280) == 0, program.stdout.text
    program.end()
    assert re.search(r"^\d+ passed", program.stdout.text, re.M)


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@PAGE.covers("order", "pay")
def test_the_shop_can_be_served(spawn: Spawn, tmp_path: Path) -> None:
    options = ("--serve", "--port", "0")
    program = spawn(sys.executable, "-m", "examples.orders", *options, cwd=tmp_path)
    place = program.stdout.wait_for(r"^The shop is at (http://127.0.0.1:\d+)", timeout=120).group(1)

    def curl(commands: str) -> str:
        shell = spawn("bash", "-euc", commands.replace("http://127.0.0.1:8000", place))
        assert shell.wait(60) == 0, shell.stderr.text
        shell.end()
        return shell.stdout.text

    while (order := json.loads(curl(PAGE["order"]).splitlines()[-1]))["payment_url"] is None:
        pass
    paying = PAGE["pay"].replace("PAYMENT_URL", order["payment_url"])
    printed = curl(paying.replace("RUN_ID", order["run_id"]))
    assert '{"webhook":[202,202]}' in printed
    assert '"tracking_number": "TRACK-000001"' in printed

    program.signal(signal.SIGINT)
    assert program.wait(60) == 130
    program.end()
    assert "Traceback" not in program.stderr.text


def test_every_example_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
