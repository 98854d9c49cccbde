"""Pausing, resuming and listing workflows by a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow, PausedWorkflow, Step, WorkflowStatus
from owsuper.db import connect
from owsuper.db.presence import PresenceQueries
from owsuper.errors import ConfigurationError
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.announcements import announced
from tests.db.rows import Tables, perform

WORKER = "shop:17:abc"


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def serving(database_url: str, schema: str) -> Iterator[None]:
    """A connected worker serves ``report`` in two versions, and ``mail``."""
    with ExitStack() as stack:
        conn = stack.enter_context(connect.connect(database_url, application_name="test"))
        queries = PresenceQueries(schema, "default", WORKER)
        perform(conn, queries.register(30, "shop", 17))
        workflows = [("report", "2"), ("report", None), ("mail", None)]
        perform(conn, announced(queries, workflows=workflows))
        yield


@sync_and_async
def test_a_workflow_is_paused_listed_and_resumed(
    ow: OpenWorkflow, serving: None, call: Call
) -> None:
    pause = call(ow, "pause_workflow", "report", reason="no paper", by="ada")
    assert (pause.workflow_name, pause.by, pause.reason) == ("report", "ada", "no paper")
    assert call(ow, "list_workflows") == [
        WorkflowStatus(name="mail", versions=(None,), workers=(WORKER,), pause=None),
        WorkflowStatus(name="report", versions=(None, "2"), workers=(WORKER,), pause=pause),
    ]
    assert call(ow, "resume_workflow", "report") == pause
    assert call(ow, "resume_workflow", "report") is None
    assert [each.pause for each in call(ow, "list_workflows")] == [None, None]


@sync_and_async
def test_a_second_pause_keeps_the_time_of_the_first(
    ow: OpenWorkflow, serving: None, call: Call
) -> None:
    first = call(ow, "pause_workflow", "mail")
    assert first.by is not None
    assert "@" in first.by
    again = call(ow, "pause_workflow", "mail", reason="still", by="bob")
    assert again == PausedWorkflow(
        workflow_name="mail", since=first.since, by="bob", reason="still"
    )


@sync_and_async
@pytest.mark.parametrize("method", ["pause_workflow", "resume_workflow"])
def test_a_name_that_nobody_knows_is_refused_with_similar_ones(
    ow: OpenWorkflow, serving: None, tables: Tables, call: Call, method: str
) -> None:
    tables.pending(workflow_name="invoice")
    message = r"serves a workflow 'reprot', and no run is of it; did you mean report\?"
    with pytest.raises(ConfigurationError, match=message):
        call(ow, method, "reprot")
    with pytest.raises(ConfigurationError, match=r"there are invoice, mail, report"):
        call(ow, method, "xyzzy")
    assert [each.pause for each in call(ow, "list_workflows")] == [None, None]


def test_in_an_empty_namespace_there_is_none(ow: OpenWorkflow) -> None:
    with pytest.raises(ConfigurationError, match="there is none in this namespace"):
        ow.pause_workflow("report")


@sync_and_async
def test_a_workflow_that_has_runs_or_is_defined_here_may_be_paused(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    @ow.workflow
    def own(step: Step) -> None: ...

    tables.pending(workflow_name="unserved")
    call(ow, "pause_workflow", "unserved")
    call(ow, "pause_workflow", own)
    call(ow, "resume_workflow", "own")
    call(ow, "pause_workflow", "own")
    found = call(ow, "list_workflows")
    assert [(each.name, each.versions, each.workers) for each in found] == [
        ("own", (), ()),
        ("unserved", (), ()),
    ]


@sync_and_async
def test_the_undos_of_a_workflow_that_is_known_may_be_paused(
    ow: OpenWorkflow, tables: Tables, serving: None, call: Call
) -> None:
    @ow.workflow
    def own(step: Step) -> None: ...

    tables.pending(workflow_name="unserved")
    for name in ("own", "unserved", "report"):
        assert call(ow, "pause_workflow", f"undo:{name}").workflow_name == f"undo:{name}"
    with pytest.raises(ConfigurationError, match="no worker serves a workflow 'oder'"):
        call(ow, "pause_workflow", "undo:oder")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workflow": ""}, "Invalid workflow name"),
        ({"workflow": "w", "reason": "x" * 1001}, "reason: must be text of at most 1,000"),
        ({"workflow": "w", "reason": "a\0b"}, "reason: must be text"),
        ({"workflow": "w", "by": 3}, "by: must be text"),
        ({"workflow": "w", "by": "\ud800"}, "by: must be text"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    ow: OpenWorkflow, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ow.pause_workflow(**arguments)


def test_pauses_of_another_namespace_are_its_own(
    ow: OpenWorkflow, tables: Tables, database_url: str, schema: str
) -> None:
    tables.pending()
    ow.pause_workflow("w")
    other = OpenWorkflow(database_url, schema=schema, namespace="other")
    assert other.list_workflows() == []
    other.close()
