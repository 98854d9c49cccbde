"""docs/values.md: values come back as shown, and are refused in the words that it quotes."""

from __future__ import annotations

import ast
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
    assert codec.convert({"when": "2026-01-01T00:00:00"}, Loose, path="input").when.tzinfo is None


PEOPLE = """\
from dataclasses import dataclass, field

from pydantic import AliasChoices, BaseModel, Field, SecretStr
from owsuper import OpenWorkflow, Step
from owsuper.errors import InvalidData, NotSerializable

ow = OpenWorkflow()

class Person(BaseModel):
    full: str = Field(validation_alias=AliasChoices("name", "fullName"))

class Login(BaseModel):
    user: str
    token: SecretStr

class Profile(BaseModel):
    realm: str = Field(default="default", exclude=True)

@dataclass
class Order:
    price: int
    total: int = field(init=False)

    def __post_init__(self) -> None:
        self.total = self.price

def called(value):
    open("called", "a").write("x")
    return value

def fetch() -> Person:
    return called(Person(name="Ada"))

def log_in() -> Login:
    return called(Login(user="ada", token="hunter2"))

def profile() -> Profile:
    return called(Profile(realm="prod"))

@ow.workflow
def look_up(step: Step, which: int) -> None:
    step.run("step", (fetch, log_in, profile)[which])

@ow.workflow
def greet(step: Step, person: Person) -> str:
    return person.full

@ow.workflow
def enter(step: Step, login: Login) -> str:
    return login.token.get_secret_value()

@ow.workflow
def discount(step: Step, order: Order) -> Order:
    order.total -= 1
    return step.run("same", lambda: order, type=Order)

if __name__ == "__main__":
    for which in range(3):
        try:
            look_up.run(which).result(timeout=30)
        except Exception as error:
            print(error)
    for start in (
        lambda: greet.run(Person(name="Ada")),
        lambda: enter.run(Login(user="ada", token="hunter2")),
    ):
        try:
            start()
        except (InvalidData, NotSerializable) as error:
            print(type(error).__name__, error.path)
    print(discount.run(Order(5)).result(timeout=30).total)
    print(ow.run_workflow("greet", {"fullName": "Ada"}).result(timeout=30))
"""


def test_a_type_that_cannot_read_what_it_writes_is_refused_before_the_call(
    connected: Sandbox,
) -> None:
    connected.write("people.py", PEOPLE)
    connected.worker("owsuper --processes 1 --module people.py")
    said = connected.run("python people.py").splitlines()
    refused = ("'full' of Person", "'token' of Login", "'realm' of Profile")
    for line, field in zip(said[:3], refused, strict=True):
        assert f"the field {field} " in line
    assert said[3:] == ["NotSerializable input", "NotSerializable input", "4", "Ada"]
    assert not (connected.directory / "called").exists()


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
