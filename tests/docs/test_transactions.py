"""What docs/transactions.md says of transactions is so."""

from __future__ import annotations

import psycopg
import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = pytest.mark.slow

TRANSACTIONS = Document("docs/transactions.md")


@pytest.fixture
def shop(connected: Sandbox, conn: psycopg.Connection) -> Sandbox:
    """A worker serves the workflow of the page."""
    connected.write("shop.py", TRANSACTIONS["shop"])
    for table in ("orders", "reserved"):
        conn.execute(f"DROP TABLE IF EXISTS {table}")
    connected.worker("owsuper --processes 1 --module shop.py").stderr.wait_for("ready: ")
    return connected


@TRANSACTIONS.covers("shop", "with-psycopg", "with-sqlalchemy", "with-async-sqlalchemy")
@pytest.mark.parametrize(
    ("name", "order"), [("with-psycopg", 7), ("with-sqlalchemy", 8), ("with-async-sqlalchemy", 9)]
)
def test_a_run_is_started_with_the_row_of_its_order(
    shop: Sandbox, conn: psycopg.Connection, name: str, order: int
) -> None:
    if "async" in name:
        pytest.importorskip("greenlet")
    shop.write("start.py", TRANSACTIONS[name])
    assert shop.run("python start.py") == f"reserved {order}\n"
    assert conn.execute("SELECT id FROM orders").fetchall() == [(order,)]
    assert conn.execute("SELECT id FROM reserved").fetchall() == [(order,)]


def test_a_row_that_is_refused_starts_no_run(shop: Sandbox, conn: psycopg.Connection) -> None:
    conn.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    shop.write("start.py", TRANSACTIONS["with-psycopg"].replace("(7)", "(NULL)"))
    program = shop.start("python start.py")
    assert program.wait() != 0
    assert shop.run("owsuper runs list").splitlines()[1:] == []
