"""Idempotency keys that last longer than 24 hours, sync and async."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.errors import ConfigurationError, InvalidDuration
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.rows import Tables, from_now

DAY = 24 * 3600


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@sync_and_async
@pytest.mark.parametrize("lifetime", ["30d", timedelta(days=30), 30 * DAY])
def test_a_key_finds_its_run_for_as_long_as_is_asked(
    ow: OpenWorkflow, tables: Tables, call: Call, lifetime: Any
) -> None:
    old = tables.pending(idempotency_key="k", created_at=from_now(-30 * DAY + 60))
    too_old = tables.pending(idempotency_key="l", created_at=from_now(-30 * DAY - 60))

    def start(key: str, **more: Any) -> str:
        return str(call(ow, "run_workflow", "w", idempotency_key=key, **more).id)

    assert start("k", key_lifetime=lifetime) == old
    assert start("l", key_lifetime=lifetime) != too_old
    assert start("k") != old  # the lifetime is that of a start, and is not stored


@sync_and_async
@pytest.mark.parametrize("lifetime", ["23h", 0, "-1d", "101y", timedelta(hours=1)])
def test_a_lifetime_that_is_too_short_or_too_long_is_refused(
    ow: OpenWorkflow, call: Call, lifetime: Any
) -> None:
    with pytest.raises(ConfigurationError, match=r"key_lifetime: .* from 24 hours to 100 years"):
        call(ow, "run_workflow", "w", idempotency_key="k", key_lifetime=lifetime)


@sync_and_async
def test_what_is_no_duration_and_a_lifetime_without_a_key_are_refused(
    ow: OpenWorkflow, call: Call
) -> None:
    with pytest.raises(InvalidDuration, match="key_lifetime: "):
        call(ow, "run_workflow", "w", idempotency_key="k", key_lifetime="long")
    with pytest.raises(ConfigurationError, match="no effect without an idempotency_key"):
        call(ow, "run_workflow", "w", key_lifetime="30d")
