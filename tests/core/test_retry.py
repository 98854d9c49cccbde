import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.durations import parse_iso
from owsuper.core.retry import (
    DEADLINE_ERROR,
    STEP_DEFAULT,
    WORKFLOW_DEFAULT,
    GiveUp,
    RetryAt,
    RetryPolicy,
    backoff_ms,
    decide,
    pause_ms,
)
from owsuper.errors import ConfigurationError
from owsuper.stored_error import StoredError

VECTORS = Path(__file__).parent.parent / "vectors"
FIELDS = {
    "initialInterval": "initial_interval",
    "backoffCoefficient": "backoff_coefficient",
    "maximumInterval": "maximum_interval",
    "maximumAttempts": "maximum_attempts",
}
NUMBERS = {"NaN": math.nan, "Infinity": math.inf}
NOW = datetime(2030, 1, 1, tzinfo=UTC)
BOOM = StoredError(name="Error", message="boom")

policies = st.builds(
    RetryPolicy,
    initial_interval=st.floats(1e-3, 1e6),
    backoff_coefficient=st.floats(1e-3, 1e3),
    maximum_interval=st.floats(1e-3, 1e6),
    maximum_attempts=st.integers(0, 20),
)


def load(name):
    return json.loads((VECTORS / name).read_text())


def policy_from(fields, base=STEP_DEFAULT):
    def value(given):
        # Text without a unit is milliseconds in the contract, and refused here.
        bare = isinstance(given, str) and given.isdigit()
        return f"{given}ms" if bare else NUMBERS.get(given, given)

    known = {FIELDS[k]: value(v) for k, v in fields.items() if v != "<undefined>"}
    merged = {ours: getattr(base, ours) for ours in FIELDS.values()} | known
    return RetryPolicy(**merged)


def has_unusable_field(fields):
    """Fields that the reference tolerates in some places and that are an error here."""
    interval = {fields.get("initialInterval"), fields.get("maximumInterval")}
    attempts = fields.get("maximumAttempts", 0)
    return (
        bool(interval & {"bogus", "nope", "", "0s", "-1s"})
        or fields.get("backoffCoefficient") in (0, -2, "NaN", "Infinity")
        or attempts in (-1, 1.5, "NaN", "Infinity")
    )


@pytest.mark.parametrize(
    "case", load("backoff.json")["cases"], ids=lambda c: f"{c['label']}-{c['attempt']}"
)
def test_backoff_is_what_the_contract_says(case):
    if has_unusable_field(case["policy"]):
        with pytest.raises(ConfigurationError):
            policy_from(case["policy"])
        return
    assert backoff_ms(policy_from(case["policy"]), case["attempt"]) == case["delay_ms"]


def test_an_interval_without_a_unit_is_refused():
    with pytest.raises(ConfigurationError, match=r'initial_interval: .*"750" has no unit'):
        RetryPolicy(initial_interval="750")


@pytest.mark.parametrize(
    "case", load("retry_policy_resolution.json")["cases"], ids=lambda c: str(c["partial"])
)
def test_a_partial_workflow_policy_resolves_as_the_contract_says(case):
    partial = {} if case["partial"] == "<absent>" else case["partial"]
    if has_unusable_field(partial):
        with pytest.raises(ConfigurationError):
            policy_from(partial, WORKFLOW_DEFAULT)
        return
    assert policy_from(partial, WORKFLOW_DEFAULT) == policy_from(case["resolved"])


def test_the_defaults_are_those_of_the_contract():
    vectors = load("retry_policy_resolution.json")
    assert policy_from(vectors["step_default"]) == STEP_DEFAULT == RetryPolicy()
    assert policy_from(vectors["workflow_default"]) == WORKFLOW_DEFAULT


@pytest.mark.parametrize(
    "case",
    load("failure_decisions.json")["cases"],
    ids=lambda c: f"{c['label']}-{c['attempts']}-{c['deadline_offset_ms']}",
)
def test_a_failure_is_decided_as_the_contract_says(case):
    if has_unusable_field(case["policy"]):
        with pytest.raises(ConfigurationError):
            policy_from(case["policy"])
        return
    now = parse_iso(load("failure_decisions.json")["now"])
    offset = case["deadline_offset_ms"]
    deadline = None if offset is None else now + timedelta(milliseconds=offset)
    decision = decide(policy_from(case["policy"]), case["attempts"], deadline, now, BOOM)
    expected = case["result"]
    if expected["status"] == "failed":
        assert decision == GiveUp(expected["error"])
    else:
        delay = timedelta(milliseconds=expected["available_delay_ms"])
        assert decision == RetryAt(now + delay)


def test_a_final_error_is_not_repeated():
    error = StoredError(name="NotSerializable", message="no", final=True)
    assert decide(RetryPolicy(maximum_attempts=0), 1, None, NOW, error) == GiveUp(error.to_json())


def test_a_passed_deadline_replaces_even_a_final_error():
    error = StoredError(message="no", final=True)
    assert decide(STEP_DEFAULT, 1, NOW, NOW, error) == GiveUp(DEADLINE_ERROR)


@given(policies, st.integers(-5, 10**9))
def test_backoff_is_finite_and_within_the_maximum(policy, n):
    assert 0 <= backoff_ms(policy, n) <= policy.maximum_ms


@given(policies, st.integers(1, 50), st.text(), st.floats(0, 1))
def test_jitter_shortens_a_pause_by_at_most_its_share(policy, n, seed, jitter):
    whole = backoff_ms(policy, n)
    pause = pause_ms(replace(policy, jitter=jitter), n, seed)
    assert whole * (1 - jitter) <= pause <= whole
    assert pause == pause_ms(replace(policy, jitter=jitter), n, seed)
    assert pause_ms(policy, n, seed) == whole


def test_jitter_is_spread_evenly():
    policy = RetryPolicy(initial_interval="1s", jitter=1)
    pauses = [pause_ms(policy, 1, f"attempt {n}") for n in range(10_000)]
    for tenth in range(10):
        share = sum(tenth * 100 <= pause < (tenth + 1) * 100 for pause in pauses)
        assert 900 < share < 1100


@given(policies, st.integers(0, 5000))
def test_backoff_with_a_growing_policy_never_shrinks(policy, n):
    if policy.backoff_coefficient >= 1:
        assert backoff_ms(policy, n) <= backoff_ms(policy, n + 1)


@given(policies, st.integers(1, 50), st.none() | st.integers(-10_000, 10_000_000))
def test_a_retry_never_lies_in_the_past_or_beyond_the_deadline(policy, failures, offset):
    deadline = None if offset is None else NOW + timedelta(milliseconds=offset)
    match decide(policy, failures, deadline, NOW, BOOM):
        case RetryAt(at):
            assert at >= NOW
            assert deadline is None or at < deadline
            assert policy.maximum_attempts == 0 or failures < policy.maximum_attempts
        case GiveUp(error):
            assert error in (BOOM.to_json(), DEADLINE_ERROR)


async def asked_asynchronously(error):
    return True


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("initial_interval", "1h30m"),
        ("initial_interval", 0),
        ("initial_interval", timedelta(seconds=-1)),
        ("initial_interval", None),
        ("initial_interval", math.nan),
        ("maximum_interval", "300000000y"),
        ("maximum_interval", True),
        ("backoff_coefficient", 0),
        ("backoff_coefficient", -1.0),
        ("backoff_coefficient", math.inf),
        ("backoff_coefficient", math.nan),
        ("backoff_coefficient", "2"),
        ("backoff_coefficient", True),
        ("maximum_attempts", -1),
        ("maximum_attempts", 1.0),
        ("maximum_attempts", "3"),
        ("maximum_attempts", True),
        ("maximum_attempts", math.inf),
        ("jitter", -0.1),
        ("jitter", 1.1),
        ("jitter", math.nan),
        ("jitter", "0.5"),
        ("jitter", True),
        ("retry_on", "ConnectionError"),
        ("retry_on", int),
        ("retry_on", ValueError("an instance")),
        ("retry_on", [ValueError, KeyError]),
        ("retry_on", (ValueError, int)),
        ("retry_on", asked_asynchronously),
        ("never_retry", 5),
        ("never_retry", (ValueError, lambda error: True)),
    ],
)
def test_an_unusable_field_is_refused_by_name(field, value):
    with pytest.raises(ConfigurationError, match=rf"^RetryPolicy\.{field}: "):
        RetryPolicy(**{field: value})


def test_policies_are_values():
    assert RetryPolicy(initial_interval=timedelta(seconds=2)) == RetryPolicy(
        initial_interval=timedelta(seconds=2)
    )
    assert len({RetryPolicy(), RetryPolicy(), WORKFLOW_DEFAULT}) == 2
    assert repr(RetryPolicy(maximum_attempts=5)) == (
        "RetryPolicy(initial_interval='1s', backoff_coefficient=2.0,"
        " maximum_interval='100s', maximum_attempts=5, jitter=0.0, retry_on=None,"
        " never_retry=None)"
    )
