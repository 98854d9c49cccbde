"""The examples about undos are executed."""

from __future__ import annotations

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/compensation.md")


@PAGE.covers("shop", "buy", "bought")
def test_a_run_that_fails_is_undone(connected: Sandbox) -> None:
    connected.write("shop.py", PAGE["shop"])
    connected.write("buy.py", PAGE["buy"])
    worker = connected.worker("owsuper --module shop")
    assert connected.run("python buy.py") == PAGE["bought"]
    worker.terminate()
    assert worker.wait() == 0


CLOSED = """def refund(payment: str, euros: int) -> None:
    raise NonRetryableError("the account is closed")


def before("""
FAIL = """
from contextlib import suppress
from owsuper import RunFailed
from shop import buy, ow

run = buy.run("a piano")
with suppress(RunFailed):
    run.result("30s")
undo = ow.get_run(run.details().undone_by)
with suppress(RunFailed):
    undo.result("30s")
print(undo.id)
"""


@PAGE.covers("skip")
def test_an_undo_that_was_done_by_hand_is_skipped(connected: Sandbox) -> None:
    connected.write("shop.py", PAGE["shop"].replace("def refund(", CLOSED))
    worker = connected.worker("owsuper --processes 1 --module shop")
    connected.write("fail.py", FAIL)
    connected.env["UNDO"] = connected.run("python fail.py").strip()
    shown = connected.run(
        PAGE["skip"] + 'owsuper runs wait "$UNDO" --timeout 30s; owsuper runs show "$UNDO" --full'
    )
    assert "refunded by phone" in shown
    worker.terminate()
    assert worker.wait() == 0
    assert "released the reservation of a piano" in worker.stdout.text


@PAGE.covers("alternative")
def test_undos_on_purpose(connected: Sandbox) -> None:
    connected.write("trip.py", PAGE["alternative"])
    printed = connected.run(
        'python -c "from trip import trip; from owsuper.testing import run_in_process;'
        ' print(run_in_process(trip).result)"'
    )
    assert printed == "canceled: hotel booked\nstayed at home\n"


@PAGE.covers("keyed")
def test_the_undo_of_a_key(connected: Sandbox) -> None:
    connected.write("bank.py", PAGE["keyed"])
    printed = connected.run(
        'python -c "from bank import pay; from owsuper.testing import run_in_process;'
        ' print(run_in_process(pay).status)"'
    )
    assert printed == "asks the bank what became of the key, and takes it back\nfailed\n"


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
