"""docs/guarantees.md and docs/architecture.md: their examples run, and what they name exists."""

from __future__ import annotations

import re
import shlex

from tests.docs.conftest import Sandbox
from tests.docs.documents import ROOT, Document

GUARANTEES = Document("docs/guarantees.md")
ARCHITECTURE = Document("docs/architecture.md")

SHOP = """\
from dataclasses import dataclass
from pathlib import Path
from owsuper import OpenWorkflow, Step

ow = OpenWorkflow()

@dataclass
class Order:
    amount: int

class payments:
    @staticmethod
    def charge(amount: int, *, idempotency_key: str) -> str:
        with Path("charges").open("a") as charges:
            charges.write(f"{idempotency_key} {amount}\\n")
        if len(Path("charges").read_text().splitlines()) == 1:
            raise ConnectionError("charged, but the answer got lost")
        return "paid"

"""


@GUARANTEES.covers("charge")
def test_a_step_that_is_repeated_sends_the_same_idempotency_key(connected: Sandbox) -> None:
    connected.write("shop.py", SHOP + GUARANTEES["charge"])
    connected.worker("owsuper --processes 1 --module shop.py")
    program = (
        "from shop import *; handle = checkout.run(Order(5)); "
        "print(handle.id, handle.result(timeout=30))"
    )
    run_id, result = connected.run(f"python -c {shlex.quote(program)}").split()
    assert result == "paid"
    charges = (connected.directory / "charges").read_text().splitlines()
    assert charges == [f"{run_id}:charge 5"] * 2


def test_every_block_is_executed() -> None:
    assert GUARANTEES.unexecuted() + ARCHITECTURE.unexecuted() == []


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+(?:\.py|/\w+))`", ARCHITECTURE.text)
    assert len(named) > 5
    roots = (ROOT, ROOT / "owsuper", ROOT / "owsuper" / "supervisor")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_every_table_that_is_named_exists() -> None:
    migrations = "".join(path.read_text() for path in (ROOT / "sql").rglob("*.sql"))
    named = set(re.findall(r"`((?:owsuper|workflow|step)_\w+)`", ARCHITECTURE.text))
    assert len(named) > 5
    assert [name for name in named if name not in migrations] == []
