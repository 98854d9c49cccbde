from __future__ import annotations

import pytest

from owsuper.db.statement import load, sql_root
from owsuper.errors import InvalidSchemaName

QUERIES = sorted(file.name for file in (sql_root() / "queries").iterdir())
FRAGMENTS = sorted(file.name for file in (sql_root() / "fragments").iterdir())


@pytest.mark.parametrize("file", QUERIES)
def test_a_query_loads_with_its_schema_and_without_its_comments(file: str) -> None:
    statement = load(file.removesuffix(".sql"), "Odd_1")
    assert statement.text
    assert "{schema}" not in statement.text
    assert "{fragments" not in statement.text
    assert not any(line.lstrip().startswith("--") for line in statement.text.splitlines())


def test_a_query_is_read_once() -> None:
    name = QUERIES[0].removesuffix(".sql")
    assert load(name, "a") is load(name, "a")


def test_a_schema_name_is_checked_before_it_gets_into_sql() -> None:
    with pytest.raises(InvalidSchemaName):
        load(QUERIES[0].removesuffix(".sql"), 'a"; --')


@pytest.mark.parametrize("file", FRAGMENTS)
def test_a_fragment_is_shared_and_says_what_it_needs(file: str) -> None:
    text = (sql_root() / "fragments" / file).read_text("utf-8")
    header = "".join(line for line in text.splitlines(True) if line.startswith("--"))
    assert "-- Needs: " in header
    assert "-- Index: " in header
    place = "{fragments/" + file.removesuffix(".sql") + "}"
    users = [
        query for query in QUERIES if place in (sql_root() / "queries" / query).read_text("utf-8")
    ]
    assert len(users) > 1
