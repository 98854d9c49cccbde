"""Waiting for many runs at once."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import Future
from typing import Any
from unittest.mock import Mock, patch

import pytest

from owsuper import OpenWorkflow, ResultTimeout, RunFailed, RunHandle, RunNotFound
from owsuper.errors import ConfigurationError, DatabaseUnreachable
from tests.client.conftest import Rows


def wait_all(sync: bool, ow: OpenWorkflow, handles: Any, **options: Any) -> list[Any]:
    if sync:
        return ow.wait_all(handles, **options)
    return asyncio.run(ow.await_all(handles, **options))


def completed(sync: bool, ow: OpenWorkflow, handles: Any, **options: Any) -> list[RunHandle[Any]]:
    if sync:
        return list(ow.as_completed(handles, **options))

    async def collect() -> list[RunHandle[Any]]:
        return [each async for each in ow.aas_completed(handles, **options)]

    return asyncio.run(collect())


both = pytest.mark.parametrize("sync", [True, False])


@both
def test_the_results_are_those_of_the_handles_in_their_order(
    ow: OpenWorkflow, rows: Rows, sync: bool
) -> None:
    handles = ow.run_many("w", range(20))
    for number, handle in enumerate(reversed(handles)):
        rows.end(handle.id, output=number)
    assert wait_all(sync, ow, handles) == list(reversed(range(20)))
    assert wait_all(sync, ow, []) == []
    assert {each.id for each in completed(sync, ow, handles)} == {each.id for each in handles}
    assert completed(sync, ow, []) == []


@both
def test_errors_are_raised_or_stand_in_the_place_of_results(
    ow: OpenWorkflow, rows: Rows, sync: bool
) -> None:
    good, bad = ow.run_many("w", range(2))
    rows.end(good.id, output=1)
    rows.end(bad.id, status="failed", error={"message": "no"})
    handles = [good, bad, ow.get_run("nope")]
    with pytest.raises(RunFailed):
        wait_all(sync, ow, handles)
    found = wait_all(sync, ow, handles, return_errors=True)
    assert found[0] == 1
    assert [type(each) for each in found[1:]] == [RunFailed, RunNotFound]
    assert len(completed(sync, ow, handles)) == 3


@both
def test_a_run_that_does_not_end_in_time_is_named(ow: OpenWorkflow, rows: Rows, sync: bool) -> None:
    good, late = ow.run_many("w", range(2))
    rows.end(good.id, output=1)
    with pytest.raises(ResultTimeout, match=late.id):
        wait_all(sync, ow, [good, late], timeout=0.2)
    with pytest.raises(ResultTimeout, match=late.id):
        completed(sync, ow, [good, late], timeout=0.2)


@both
def test_what_is_no_handle_is_refused(ow: OpenWorkflow, sync: bool) -> None:
    for wait in (wait_all, completed):
        with pytest.raises(ConfigurationError, match="handles: 'id' is no RunHandle"):
            wait(sync, ow, ["id"])


@both
def test_an_unreachable_database_is_one_error(sync: bool, caplog: pytest.LogCaptureFixture) -> None:
    unreachable = OpenWorkflow("postgresql://127.0.0.1:1/none")
    with pytest.raises(DatabaseUnreachable):
        wait_all(sync, unreachable, [unreachable.get_run(name) for name in "ab"])
    unreachable.close()
    gc.collect()
    assert [record.name for record in caplog.records if record.name == "asyncio"] == []


@both
def test_no_run_is_waited_for_if_one_cannot_be(ow: OpenWorkflow, sync: bool) -> None:
    awaited: list[Future[Any]] = []

    def future_of(run_id: str) -> Future[Any]:
        awaited.append(Future())
        return awaited[-1]

    broken = Mock(spec=RunHandle, id="broken")
    error = DatabaseUnreachable("no")
    broken._database = Mock(**{"session.side_effect": error, "asession.side_effect": error})
    [handle] = ow.run_many("w", range(1))
    with patch.object(ow._database.session().waiter, "future_of", future_of):
        for wait in (wait_all, completed):
            with pytest.raises(DatabaseUnreachable):
                wait(sync, ow, [handle, broken])
    assert [future.cancelled() for future in awaited] == [True, True]


@pytest.mark.slow
@both
def test_thousands_of_runs_are_waited_for(ow: OpenWorkflow, rows: Rows, sync: bool) -> None:
    handles = ow.run_many("w", range(5000))
    rows.end(*[handle.id for handle in handles], output=0)
    assert wait_all(sync, ow, handles) == [0] * 5000
