"""The rules about how long ended runs are kept."""

from __future__ import annotations

import pytest

from owsuper.core import retention
from owsuper.core.model import RunStatus
from owsuper.errors import ConfigurationError

COMPLETED, FAILED, CANCELED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED
DAY = 86_400.0


def test_the_narrowest_rule_decides() -> None:
    rules = retention.read(["30d", "failed=90d", "workflow:nightly=7d", "workflow:a=b=forever"])
    assert rules.keep("other", COMPLETED) == 30 * DAY
    assert rules.keep("other", RunStatus.SUCCEEDED) == 30 * DAY
    assert rules.keep("other", FAILED) == 90 * DAY
    assert rules.keep("nightly", FAILED) == 7 * DAY
    assert rules.keep("a=b", COMPLETED) is None


def test_what_no_rule_is_about_is_kept() -> None:
    rules = retention.read(["completed=1h", "canceled = forever"])
    assert rules.keep("w", COMPLETED) == 3600
    assert rules.keep("w", RunStatus.SUCCEEDED) == 3600
    assert rules.keep("w", FAILED) is None
    assert rules.keep("w", CANCELED) is None


def test_of_several_workers_the_longest_rule_counts() -> None:
    rules = [retention.read(["30d", "workflow:x=1d"]), retention.read(["completed=7d"])]
    assert retention.longest(rules, "w", COMPLETED) == 30 * DAY
    assert retention.longest(rules, "x", COMPLETED) == 7 * DAY
    assert retention.longest(rules, "w", FAILED) is None
    assert retention.longest(rules[:1], "x", FAILED) == DAY


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["thirty days"], "'thirty days': .*is no duration. Write a duration such as 30d"),
        (["30"], "'30' is no duration"),
        (["30s"], "from 1m to 100y"),
        (["running=3d"], "'running' is not the status of a run that has ended"),
        (["succeeded=3d"], r"\(completed, failed, canceled\)"),
        (["=3d"], "nothing stands before the ="),
        (["workflow:=3d"], "workflow name"),
        (["failed="], "'' is no duration"),
        (["1d", "2d"], "'2d': there is another rule about all runs"),
        (["failed=1d", "failed=2d"], "another rule about failed"),
    ],
)
def test_a_rule_that_cannot_be_read_is_named(rules: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        retention.read(rules)
