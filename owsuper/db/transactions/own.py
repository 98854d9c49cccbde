"""The connections of owsuper's own that functions of ``step.transaction`` get."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg

OwnConnection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
OwnAsyncConnection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
