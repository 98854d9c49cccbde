"""docs/processes.md: its example works, and what it says of signals and generators is so."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/processes.md")

# One run for each of two processes, which hold each other up until both run.
ROLL_TWICE = """
import sys
from dice import roll
handles = [roll.run() for _ in range(2)]
rolled = [handle.result(timeout=30) for handle in handles]
print("same" if rolled[0] == rolled[1] else "different")
"""
TOGETHER = """
import threading, pathlib, os, time

def meet() -> None:
    pathlib.Path(f"met-{os.getpid()}").touch()
    while len(list(pathlib.Path().glob("met-*"))) < 2:
        time.sleep(0.01)
"""


def two_processes_roll(sandbox: Sandbox, text: str) -> str:
    before, roll, after = text.partition("    return step.run")
    sandbox.write("dice.py", f"{before}    step.run('meet', meet)\n{roll}{after}{TOGETHER}")
    sandbox.worker("owsuper --processes 2 --module dice.py")
    return sandbox.run(f"python -c {shlex.quote(ROLL_TWICE)}")


@PAGE.covers("pool")
def test_a_pool_is_open_in_the_workflows_of_the_process_and_closed_at_its_end(
    connected: Sandbox,
) -> None:
    url = connected.env["OWSUPER_DATABASE_URL"]
    text = PAGE["pool"].replace("dbname=shop", url).replace("FROM orders", "FROM (VALUES (1)) _")
    closed = text.replace("await shop.close()\n", "await shop.close()\n    print('closed')\n")
    connected.write("shop.py", closed)
    worker = connected.worker("owsuper --processes 1 --module shop.py")
    program = "from shop import count_orders; print(count_orders.run().result(timeout=30))"
    assert connected.run(f"python -c {shlex.quote(program)}") == "1\n"
    worker.terminate()
    assert worker.wait() == 0
    worker.stdout.wait_for("closed")


@PAGE.covers("resource")
def test_a_resource_is_opened_for_the_first_step_and_closed_at_the_end(connected: Sandbox) -> None:
    text = PAGE["resource"].replace(
        'raise NotImplementedError("this would ask the service")', "return 2.0"
    )
    connected.write("rates.py", text)
    worker = connected.worker("owsuper --processes 1 --module rates.py")
    worker.stderr.wait_for("ready: ")
    program = "from rates import invoice; print(invoice.run(3).result(timeout=30))"
    assert connected.run(f"python -c {shlex.quote(program)}") == "6.0\n"
    worker.terminate()
    assert worker.wait() == 0
    worker.stdout.wait_for("closed")


@PAGE.covers("override")
def test_a_test_replaces_a_resource(sandbox: Sandbox) -> None:
    sandbox.write("rates.py", PAGE["resource"])
    sandbox.write("test_rates.py", PAGE["override"])
    assert "1 passed" in sandbox.run("python -m pytest -q -p no:cacheprovider .")


@PAGE.covers("hook")
def test_the_hook_gives_every_process_numbers_of_its_own(connected: Sandbox) -> None:
    assert two_processes_roll(connected, PAGE["hook"]) == "different\n"


def test_without_the_hook_all_processes_draw_the_same_numbers(connected: Sandbox) -> None:
    text = PAGE["hook"].replace("@ow.on_child_start\n", "")
    assert two_processes_roll(connected, text) == "same\n"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_step_cannot_set_a_handler_of_a_signal(connected: Sandbox, kind: str) -> None:
    step, wait = ("AsyncStep", "await ") if kind == "async def" else ("Step", "")
    connected.write(
        "alarm.py",
        f"import signal\nfrom owsuper import {step}, OpenWorkflow, RetryPolicy\n"
        "ow = OpenWorkflow()\nonce = RetryPolicy(maximum_attempts=1)\n"
        f"@ow.workflow\n{kind} alarm(step: {step}) -> None:\n"
        f"    {wait}step.run('set', set_alarm, retry=once)\n"
        f"{kind} set_alarm() -> None:\n    signal.signal(signal.SIGALRM, print)\n",
    )
    worker = connected.worker("owsuper --processes 1 --module alarm.py")
    connected.run("python -c 'from alarm import alarm; alarm.run()'")
    worker.stderr.wait_for("ValueError: signal only works in main thread")


@PAGE.covers("foreground")
def test_a_worker_in_the_foreground_serves(connected: Sandbox) -> None:
    connected.write("app/workflows.py", PAGE["hook"])
    worker = connected.worker(PAGE["foreground"].strip())
    program = "from app.workflows import roll; print(len(roll.run().result(timeout=30)))"
    assert connected.run(f"python -c {shlex.quote(program)}") == "20\n"
    worker.terminate()
    assert worker.wait() == 0


@pytest.mark.parametrize(
    ("debugger", "said"), [("", "RuntimeError: breakpoint() needs a terminal"), ("print", None)]
)
def test_a_breakpoint_in_a_process_without_a_terminal_says_what_to_do(
    connected: Sandbox, debugger: str, said: str | None
) -> None:
    connected.env |= {"PYTHONBREAKPOINT": debugger}
    connected.write(
        "stop.py",
        "from owsuper import OpenWorkflow, RetryPolicy\now = OpenWorkflow()\n"
        "@ow.workflow\ndef stop(step):\n"
        "    return step.run('stop', breakpoint, retry=RetryPolicy(maximum_attempts=1))\n",
    )
    worker = connected.worker("owsuper --processes 1 --module stop.py")
    program = "from stop import stop; run = stop.run(); run.result(timeout=30)"
    if said is None:
        connected.run(f"python -c {shlex.quote(program)}")
    else:
        connected.start(f"python -c {shlex.quote(program)}")
        worker.stderr.wait_for(re.escape(said))


def test_the_page_names_the_time_that_handlers_have() -> None:
    from owsuper.child import process_exit

    assert process_exit._EXIT_TIMEOUT == 5.0
    assert re.search(r"They have five seconds\.", PAGE.text)


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
