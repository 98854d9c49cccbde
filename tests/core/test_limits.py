"""Limits as applications write them: what is stored about them, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from owsuper import Concurrency, Rate
from owsuper.core.limits import check_limits, definition, differing, limit_of_step
from owsuper.errors import ConfigurationError


def tenant(input: Any) -> str:
    return str(input)


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        (Concurrency(1), "w/concurrency"),
        (Concurrency(1, key="a.b"), "w/concurrency/a.b"),
        (Concurrency(1, key=tenant), "w/concurrency/tenant"),
        (Concurrency(1, key=lambda input: input), "w/concurrency/key"),
        (Rate(1, per="1s"), "w/rate"),
        (Rate(1, per="1s", name="mail"), "mail"),
    ],
)
def test_a_limit_is_called_after_its_workflow_unless_it_has_a_name(limit: Any, name: str) -> None:
    [named] = check_limits([limit], "w")
    assert named.name == name


def test_what_is_stored_about_limits() -> None:
    both = [
        Concurrency(2, key="order.customer.id", hold="executing"),
        Rate(100, per="1m", key=tenant, burst=20, name="api"),
    ]
    places, rate = map(definition, check_limits(both, "w"))
    assert places == {
        "name": "w/concurrency/order.customer.id",
        "kind": "concurrency",
        "amount": 2,
        "period": None,
        "burst": None,
        "path": ["order", "customer", "id"],
        "keyed": True,
        "hold": "executing",
        "on_conflict": "queue",
        "delay": None,
    }
    assert rate == {
        "name": "api",
        "kind": "rate",
        "amount": 100,
        "period": 60.0,
        "burst": 20,
        "path": None,
        "keyed": True,
        "hold": "run",
        "on_conflict": "queue",
        "delay": None,
    }


def test_a_rate_without_a_burst_begins_runs_evenly() -> None:
    [rate] = check_limits([Rate(10, per=timedelta(seconds=1))], "w")
    assert definition(rate)["burst"] == 1


def test_limits_of_one_name_are_compared() -> None:
    one, other = Concurrency(2, name="mail"), Concurrency(3, name="mail")
    assert differing([one], [one, Rate(1, per=1)]) is None
    assert differing([one], [other]) == "mail"
    assert differing([one], [Rate(2, per="1s", name="mail")]) == "mail"


@pytest.mark.parametrize("kind", [Concurrency, lambda n, **more: Rate(n, per="1s", **more)])
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0,), {}, r"\.amount: 0 must be a whole number from 1 to"),
        ((-1,), {}, r"\.amount: -1 must"),
        ((True,), {}, r"\.amount: True must"),
        ((1.5,), {}, r"\.amount: 1\.5 must"),
        (("2",), {}, r"\.amount: '2' must"),
        ((10**10,), {}, r"\.amount: 10000000000 must"),
        ((1,), {"key": ""}, r"\.key: '' must be a path into the input"),
        ((1,), {"key": "a..b"}, r"\.key: 'a\.\.b' must be a path"),
        ((1,), {"key": ".a"}, r"\.key: '\.a' must be a path"),
        ((1,), {"key": "a\0"}, r"\.key: .* must be a path"),
        ((1,), {"key": 7}, r"\.key: 7 must be a path .* or a function"),
        ((1,), {"name": ""}, r"\.name: '' must be text of 1 to 200"),
        ((1,), {"name": "x" * 201}, r"\.name: .* must be text of 1 to 200"),
        ((1,), {"name": 7}, r"\.name: 7 must be text"),
    ],
)
def test_what_makes_no_limit_is_refused(
    kind: Any, arguments: tuple[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^(Concurrency|Rate){message}"):
        kind(*arguments, **options)


async def later(input: Any) -> str:
    return str(input)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Concurrency(1, key=later), r"Concurrency\.key: .* a function that takes"),
        (lambda: Concurrency(1, hold="never"), r"Concurrency\.hold: 'never' must be \"run\" or"),
        (lambda: Concurrency(1, on_conflict="wait"), r"Concurrency\.on_conflict: 'wait' must be"),
        (lambda: Concurrency(1, delay="1s"), r"Concurrency\.delay: '1s' has an effect only"),
        (lambda: Concurrency(1, on_conflict="debounce"), r"Concurrency\.delay: .* needs a delay"),
        (
            lambda: Concurrency(1, on_conflict="debounce", delay="0s"),
            r"Concurrency\.delay: '0s' must be from 1 ms to 100 years",
        ),
        (
            lambda: check_limits(
                [
                    Concurrency(1, on_conflict="drop", name="a"),
                    Concurrency(1, on_conflict="replace", name="b"),
                ],
                "w",
            ),
            r'limits: both "a" and "b" have an on_conflict',
        ),
        (lambda: Rate(1, per=0), r"Rate\.per: 0 must be from 1 ms"),
        (lambda: Rate(1, per="-1s"), r"Rate\.per: '-1s' must be from 1 ms"),
        (lambda: Rate(1, per="10"), r"Rate\.per: .* has no unit"),
        (lambda: Rate(1, per="1s", burst=0), r"Rate\.burst: 0 must be a whole number"),
        (lambda: check_limits(Concurrency(1), "w"), r"limits: .* must be a list, such as"),
        (lambda: check_limits(["mail"], "w"), r"limits: expected a Concurrency or a Rate, not"),
        (
            lambda: check_limits([Concurrency(1), Concurrency(2)], "w"),
            r'limits: two limits are named "w/concurrency"',
        ),
        (lambda: check_limits([Concurrency(1)], "w" * 200), r"limits: .* Give the limit a name"),
    ],
)
def test_the_message_names_the_field(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        (Rate(1, per="1s"), "w/call/rate"),
        (Rate(1, per="1s", key="a.b"), "w/call/rate/a.b"),
        (Rate(1, per="1s", name="api"), "api"),
    ],
)
def test_a_limit_of_a_step_is_called_after_workflow_and_step(limit: Any, name: str) -> None:
    assert limit_of_step(limit, "w", "call").name == name


def test_the_name_of_a_limit_of_a_step_may_be_too_long() -> None:
    with pytest.raises(ConfigurationError, match="Give the limit a name"):
        limit_of_step(Rate(1, per="1s"), "w" * 150, "s" * 60)
