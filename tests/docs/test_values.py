"""docs/values.md: values come back as shown, and are refused in the words that it quotes."""

from __future__ import annotations

import ast
import json
import math
import re
from datetime import datetime
from typing import Any

import pydantic
import pytest

from owsuper.core import codec
from owsuper.errors import InvalidData
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

VALUES = Document("docs/values.md")


@VALUES.covers("bookings", "stored")
def test_a_value_comes_back_as_its_type_and_is_stored_as_shown(connected: Sandbox) -> None:
    connected.write("bookings.py", VALUES["bookings"])
    connected.worker("owsuper --processes 1 --module bookings.py")
    assert connected.run("python bookings.py") == VALUES["stored"]


@VALUES.covers("pairs")
def test_the_first_pass_sees_what_later_ones_see(connected: Sandbox) -> None:
    said = re.search(r"^It returns `(.*)`\.$", VALUES.text, re.M)
    assert said
    connected.write("pairs.py", VALUES["pairs"])
    connected.worker("owsuper --processes 1 --module pairs.py")
    program = "from pairs import pairs; print(pairs.run().result(timeout=30))"
    assert ast.literal_eval(connected.run(f"python -c '{program}'")) == ast.literal_eval(said[1])


@VALUES.covers("refused", "refusals")
def test_refusals_are_worded_as_quoted(connected: Sandbox) -> None:
    connected.write("refused.py", VALUES["refused"])
    assert connected.run("python refused.py") == VALUES["refusals"]
    assert '"pending":0' in connected.run("owsuper runs count --json")


def test_pydantic_models_are_read_by_rules_of_their_own() -> None:
    class Loose(pydantic.BaseModel):
        count: int = 0
        when: datetime = datetime(2026, 1, 1)
        anything: Any = None

    class Strict(Loose, strict=True):
        pass

    assert codec.convert({"count": "1"}, Loose, path="input", owner="w").count == 1
    with pytest.raises(InvalidData):
        codec.convert({"count": "1"}, Strict, path="input", owner="w")
    stored = codec.encode(Loose(anything=math.nan), path="input", owner="w")
    assert stored is not None
    assert json.loads(stored) == {"count": 0, "when": "2026-01-01T00:00:00", "anything": None}


ODD = """\
from pathlib import Path
from owsuper import OpenWorkflow, Step, StepFailed

ow = OpenWorkflow()

def numbers():
    with Path("called").open("a") as called:
        called.write("x")
    return {1, 2}

def number() -> int:
    return "one"

@ow.workflow
def odd(step: Step) -> list[str]:
    errors = []
    for function in (numbers, number):
        try:
            step.run(function.__name__, function)
        except StepFailed as failed:
            errors.append(f"{failed.error.name}: {failed.error.message}")
    return errors

@ow.workflow
def wrong(step: Step) -> int:
    return "one"
"""


def test_a_result_that_does_not_fit_fails_its_step_at_once_and_for_good(connected: Sandbox) -> None:
    connected.write("odd.py", ODD)
    connected.worker("owsuper --processes 1 --module odd.py")
    program = "from odd import odd; print(*odd.run().result(timeout=30), sep=chr(10))"
    assert connected.run(f"python -c '{program}'").splitlines() == [
        "NotSerializable: Cannot store result of step 'numbers': a set has no order and is not"
        " valid JSON. Use a list, such as sorted(value).",
        "InvalidData: result of step 'number': expected int, got str",
    ]
    assert (connected.directory / "called").read_text() == "x"
    failed = connected.start("owsuper start wrong --wait")
    assert failed.wait() == 1
    assert "InvalidData: result: expected int, got str" in failed.stderr.text


def test_every_block_of_the_page_is_executed() -> None:
    assert VALUES.unexecuted() == []
