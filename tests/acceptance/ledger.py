"""Workflows whose steps write to a table of the application, in the step's own transaction."""

from __future__ import annotations

from typing import Any

import psycopg

from owsuper import AsyncStep, OpenWorkflow, Step
from tests.acceptance.step_reports import report_execution

ow = OpenWorkflow()

STEPS = 4
INSERT = 'INSERT INTO "{schema}".ledger (run_id, step) VALUES (%s, %s)'


def write(conn: psycopg.Connection[Any], insert: str, run_id: str, step: str) -> str:
    token = report_execution(run_id, step)
    conn.execute(insert, (run_id, step))
    return token


async def awrite(conn: psycopg.AsyncConnection[Any], insert: str, run_id: str, step: str) -> str:
    token = report_execution(run_id, step)
    await conn.execute(insert, (run_id, step))
    return token


def names() -> list[str]:
    return [f"link-{n}" for n in range(STEPS)]


@ow.workflow("ledger")
def ledger(step: Step, input: Any) -> list[str]:
    insert = INSERT.format(schema=input["schema"])
    return [step.transaction(name, write, insert, step.run_id, name) for name in names()]


@ow.workflow("ledger-async")
async def ledger_async(step: AsyncStep, input: Any) -> list[str]:
    insert = INSERT.format(schema=input["schema"])
    return [await step.transaction(name, awrite, insert, step.run_id, name) for name in names()]
