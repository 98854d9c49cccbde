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
