"""Functions that @ow.workflow accepts and refuses, without a database."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step
from owsuper.errors import ConfigurationError, RegistrationError

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTheChecker


@dataclass
class Welcome:
    user_id: int


class Unstorable:
    pass


@pytest.fixture
def ow() -> OpenWorkflow:
    return OpenWorkflow()


def plain(step: Step, input: Welcome) -> str:
    """Says welcome."""
    return f"welcome {input.user_id}"


def test_a_bare_decorator_takes_the_name_of_the_function(ow: OpenWorkflow) -> None:
    assert ow.workflow(plain).name == "plain"


def test_a_called_decorator_without_a_name_takes_it_too(ow: OpenWorkflow) -> None:
    assert ow.workflow()(plain).name == "plain"


def test_a_function_for_the_start_or_end_of_children_stays_what_it_was(ow: OpenWorkflow) -> None:
    def prepare() -> None: ...

    async def close() -> None: ...

    assert ow.on_child_start(prepare) is prepare
    assert ow.on_child_stop(close) is close
    assert (ow.start_hooks, ow.stop_hooks) == ([prepare], [close])


@pytest.mark.parametrize("decorator", ["on_child_start", "on_child_stop"])
def test_a_function_for_children_takes_no_arguments_and_does_not_yield(
    ow: OpenWorkflow, decorator: str
) -> None:
    def prepare(app: object) -> None: ...

    def sync_lifespan() -> Iterator[None]:
        yield

    async def async_lifespan() -> AsyncIterator[None]:
        yield

    decorate = getattr(ow, decorator)
    with pytest.raises(ConfigurationError, match=rf"{decorator} .*prepare without .*: .*app"):
        decorate(prepare)
    for lifespan in (sync_lifespan, async_lifespan):
        with pytest.raises(ConfigurationError, match="put what follows the yield into a function"):
            decorate(lifespan)


def test_name_version_and_retry_are_kept(ow: OpenWorkflow) -> None:
    retry = RetryPolicy(maximum_attempts=3)
    workflow = ow.workflow("welcome", version="2", retry=retry)(plain)
    assert (workflow.name, workflow.version, workflow.retry) == ("welcome", "2", retry)
    assert ow.registry.get("welcome", "2") is workflow
    assert ow.registry.get("welcome") is None
    assert ow.registry.names() == [("welcome", "2")]


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_a_concurrency_that_is_no_number_of_runs_is_refused(ow: OpenWorkflow, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^concurrency: .* must be a whole number from 1"):
        ow.workflow("report", concurrency=value)(plain)


def test_the_versions_of_a_workflow_share_the_lowest_concurrency(ow: OpenWorkflow) -> None:
    ow.workflow("mail")(plain)
    ow.workflow("report")(plain)
    ow.workflow("report", version="2", concurrency=3)(plain)
    ow.workflow("report", version="3", concurrency=2)(plain)
    assert ow.registry.concurrency() == {"report": 2}


def test_the_step_limit_is_a_thousand_by_default(ow: OpenWorkflow) -> None:
    assert ow.workflow("usual")(plain).step_limit == 1000
    assert ow.workflow("long", step_limit=1_000_000)(plain).step_limit == 1_000_000
    with pytest.raises(ConfigurationError, match=r"^step_limit: 0 must be a whole number from 1"):
        ow.workflow("none", step_limit=0)(plain)


def test_types_and_async_are_read_from_the_function(ow: OpenWorkflow) -> None:
    async def awaitable(step: AsyncStep) -> int:
        return 1

    workflow, other = ow.workflow(plain), ow.workflow(awaitable)
    assert (workflow.is_async, workflow.takes_input) == (False, True)
    assert (workflow.input_type, workflow.output_type) == (Welcome, str)
    assert (other.is_async, other.takes_input, other.output_type) == (True, False, int)


def test_input_and_result_without_annotations_may_be_anything(ow: OpenWorkflow) -> None:
    @ow.workflow
    def untyped(step, input):
        return input

    assert (untyped.input_type, untyped.output_type) == (Any, Any)


def test_a_workflow_keeps_its_function_and_its_docstring(ow: OpenWorkflow) -> None:
    workflow = ow.workflow(plain)
    assert workflow.fn is plain
    assert workflow.__doc__ == "Says welcome."
    assert repr(workflow) == "<Workflow 'plain'>"


def test_calling_a_workflow_says_how_to_run_it(ow: OpenWorkflow) -> None:
    with pytest.raises(TypeError, match=r'workflow "plain" cannot be called.*\.run\(input\).*\.fn'):
        ow.workflow(plain)(Welcome(7))


def test_the_annotation_of_the_step_need_not_exist_at_run_time(ow: OpenWorkflow) -> None:
    @ow.workflow
    def checked(step: OnlyForTheChecker, input: Welcome) -> int:
        return 1

    assert checked.input_type is Welcome


def test_a_type_may_be_defined_after_the_workflow(
    ow: OpenWorkflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ow.workflow
    def early(step: Step, input: Later) -> int:  # noqa: F821 - defined below
        return 1

    monkeypatch.setitem(globals(), "Later", Welcome)
    assert early.input_type is Welcome


def test_a_type_that_is_never_defined_is_named_with_advice(ow: OpenWorkflow) -> None:
    @ow.workflow
    def hopeful(step: Step, input: OnlyForTheChecker) -> int:
        return 1

    with pytest.raises(
        ConfigurationError,
        match=r"workflow \"hopeful\": the type of 'input' cannot be evaluated: NameError.*"
        r"OnlyForTheChecker.*TYPE_CHECKING",
    ):
        hopeful.input_type  # noqa: B018 - a property that raises


def test_types_that_json_cannot_hold_are_refused_at_once(ow: OpenWorkflow) -> None:
    def unstorable_input(step: Step, input: Unstorable) -> int:
        return 1

    def unstorable_result(step: Step) -> list[Unstorable]:
        return []

    with pytest.raises(ConfigurationError, match=r'"unstorable_input".*its input.*Unstorable'):
        ow.workflow(unstorable_input)
    with pytest.raises(ConfigurationError, match=r'"unstorable_result".*return type.*Unstorable'):
        ow.workflow(unstorable_result)


def no_parameter() -> None: ...
def three_parameters(step: Step, input: int, more: int) -> None: ...
def any_number(*args: Any) -> None: ...
def keyword_only(step: Step, *, user: int) -> None: ...
def a_default(step: Step, input: int = 3) -> None: ...
def a_generator(step: Step) -> Any:
    yield 1


async def an_async_generator(step: AsyncStep) -> Any:
    yield 1


async def blocking_step_in_async(step: Step) -> None: ...
def async_step_in_blocking(step: AsyncStep) -> None: ...


@pytest.mark.parametrize(
    ("fn", "complaint"),
    [
        (no_parameter, "the function has no positional parameters"),
        (three_parameters, "the function has 3 positional parameters"),
        (any_number, r"owsuper passes no value for \*args"),
        (keyword_only, "owsuper passes no value for user"),
        (a_default, "the default of 'input' would not be stored"),
        (a_generator, "the function is a generator"),
        (an_async_generator, "the function is a generator"),
        (blocking_step_in_async, "an async def workflow takes an AsyncStep"),
        (async_step_in_blocking, "a def workflow takes a Step"),
        (Welcome, "a workflow must be a function, not the class Welcome"),
        (staticmethod(plain), "a workflow must be a function, not a staticmethod"),
        (functools.partial(plain), "a workflow must be a function, not partial"),
    ],
)
def test_an_object_that_cannot_be_a_workflow_is_refused(
    ow: OpenWorkflow, fn: Any, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ow.workflow("broken")(fn)
    assert len(ow.registry) == 0


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 501, 7, b"bytes"])
def test_names_that_cannot_be_stored_are_refused(ow: OpenWorkflow, name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"name|function"):
        ow.workflow(name)(plain)


def test_a_lambda_needs_a_name(ow: OpenWorkflow) -> None:
    with pytest.raises(ConfigurationError, match=r'@ow.workflow\("a-name"\)'):
        ow.workflow(lambda step: None)
    assert ow.workflow("named")(lambda step: None).name == "named"


def test_a_version_and_a_retry_policy_of_the_wrong_type_are_refused(ow: OpenWorkflow) -> None:
    wrong: Any = 2
    with pytest.raises(ConfigurationError, match=r"version: 2 must be text, such as '2'"):
        ow.workflow("a", version=wrong)(plain)
    with pytest.raises(ConfigurationError, match=r"retry: expected a RetryPolicy, not 2"):
        ow.workflow("a", retry=wrong)(plain)


def test_a_second_workflow_of_one_name_is_refused_with_both_places(
    ow: OpenWorkflow,
) -> None:
    ow.workflow("twin")(plain)
    with pytest.raises(
        RegistrationError,
        match=r'^Workflow "twin" is already registered, by .*plain \(.*test_defining.py:\d+\), and'
        r" again by .*keyword_free",
    ):

        @ow.workflow("twin")
        def keyword_free(step: Step) -> None: ...


def test_versions_and_no_version_stand_side_by_side(ow: OpenWorkflow) -> None:
    for version in (None, "", "1"):
        ow.workflow("many", version=version)(plain)
    assert ow.registry.names() == [("many", None), ("many", ""), ("many", "1")]
    with pytest.raises(RegistrationError, match=r'Workflow "many" \(version: 1\) is already'):
        ow.workflow("many", version="1")(plain)


def test_settings_that_cannot_be_used_are_refused_where_they_are_given() -> None:
    with pytest.raises(ConfigurationError, match=r"OpenWorkflow\(schema=\.\.\.\).*Invalid schema"):
        OpenWorkflow(schema="no-dashes")
    with pytest.raises(ConfigurationError, match=r"OpenWorkflow\(namespace=\.\.\.\)"):
        OpenWorkflow(namespace="")
