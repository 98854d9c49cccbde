"""The examples about children and signals are executed."""

from __future__ import annotations

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/children-and-signals.md")


@PAGE.covers("shop")
def test_a_parent_gets_the_results_of_its_children_and_catches_what_fails(
    connected: Sandbox,
) -> None:
    connected.write("shop.py", PAGE["shop"])
    worker = connected.worker("owsuper --module shop")
    printed = connected.run(
        "python -c \"from shop import *; items = [Item('a book', 1), Item('a pen', -1)];"
        " print(order.run(items).result(timeout='30s'))\""
    )
    assert printed == "['PACKED A BOOK', 'left out: a pen has no price']\n"
    worker.terminate()
    assert worker.wait() == 0


@PAGE.covers("approval", "decide")
def test_a_signal_that_is_kept_reaches_a_run_that_comes_later(connected: Sandbox) -> None:
    connected.write("approval.py", PAGE["approval"])
    connected.write("decide.py", PAGE["decide"])
    worker = connected.worker("owsuper --module approval")
    assert connected.run("python decide.py") == "Ada approved it\n"
    worker.terminate()
    assert worker.wait() == 0


@PAGE.covers("payment", "pay", "paid")
def test_a_signal_whose_data_does_not_fit_is_skipped_and_listed(connected: Sandbox) -> None:
    connected.write("payment.py", PAGE["payment"])
    connected.write("pay.py", PAGE["pay"])
    worker = connected.worker("owsuper --module payment")
    assert connected.run("python pay.py") == PAGE["paid"]
    worker.terminate()
    assert worker.wait() == 0
    assert "signal skipped" in worker.stderr.text


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
