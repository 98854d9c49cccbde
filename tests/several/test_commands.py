"""What the workers of several databases are called, and with what they are started."""

from __future__ import annotations

from typing import Any

import pytest

from owsuper.cli import arguments
from owsuper.settings import SETTING_TYPES, Settings
from owsuper.several.commands import commands
from owsuper.several.labels import labels

LABELS = {
    "postgresql://eu.example.com/app": "eu.example.com/app",
    "postgres://ada:s3cret@eu.example.com:5433/app?sslmode=require": "eu.example.com:5433/app",
    "postgresql://ada@[::1]:5433/app": "[::1]:5433/app",
    "postgresql://a:1,b:2/app": "a:1,b:2/app",
    "postgresql:///app": "app",
    "postgresql://%2Ftmp%2Fpg/app": "/tmp/pg/app",
    "postgresql://ada@/app?host=/tmp/pg&port=5433&password=s3cret": "/tmp/pg:5433/app",
    "postgresql://eu.example.com?dbname=app": "eu.example.com/app",
    "host=eu.example.com port=5433 dbname=app password=s3cret": "eu.example.com:5433/app",
    "password='s3cret host=us' host = 'eu'": "eu",
    r"password=s3cret\ host=us dbname='my app'": "my app",
}

# Nothing of these is shown, because a password might be in the wrong place.
UNCLEAR = [
    "postgresql://",
    "service=eu",
    "postgresql://ada:s3/cret@eu/app",
    "postgresql://ada:s3?cret@eu/app",
    "postgresql://ada:s3@cret@eu/app",
    "postgresql://ada:s3cret/app",
    "postgresql://eu/app?password=s3@cret",
    "password='s3cret host=eu",
    "host=eu s3cret",
    "postgresql://eu%00/app",
]


@pytest.mark.parametrize(("url", "label"), LABELS.items())
def test_a_label_says_where_the_database_is(url: str, label: str) -> None:
    assert labels([url]) == [label]


@pytest.mark.parametrize("url", UNCLEAR)
def test_a_database_whose_place_is_unclear_has_a_number(url: str) -> None:
    assert labels(["postgresql://eu/app", url]) == ["eu/app", "database-2"]


def test_labels_of_the_same_place_are_numbered() -> None:
    urls = ["postgresql://ada@pool/app", "postgresql://eu/app", "postgresql://bob@pool/app"]
    assert labels(urls) == ["pool/app-1", "eu/app", "pool/app-2"]


def test_each_worker_has_its_url_in_the_environment_and_its_own_metrics_port() -> None:
    urls = ["postgresql://ada:s3cret@eu/app", "postgresql://ada:s3cret@us/app"]
    first, second = commands(["--module=m"], Settings(metrics_port=9000), urls)
    assert first.arguments == [
        *("worker", "--module=m", "--database-label=eu/app", "--metrics-port=9000")
    ]
    assert second.arguments == [
        *("worker", "--module=m", "--database-label=us/app", "--metrics-port=9001")
    ]
    assert [each.environment for each in (first, second)] == [
        {"OWSUPER_DATABASE_URL": url} for url in urls
    ]


def test_without_metrics_a_worker_gets_no_port() -> None:
    for command in commands([], Settings(), ["postgresql://eu/app", "postgresql://us/app"]):
        assert "port" not in " ".join(command.arguments)


TYPED: dict[str, list[str]] = {
    "text": ["--namespace=a b"],
    "a negative number": ["--processes=-3"],
    "a switch that is on": ["--burst"],
    "a switch that is off": ["--no-listen"],
    "several values": ["--module=a", "--module=b", "--retain=30d"],
}


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_options_are_passed_on_as_they_were_typed(typed: list[str]) -> None:
    def parse(words: list[str]) -> dict[str, Any]:
        parser = arguments.Parser("owsuper")
        arguments.add_settings(parser, SETTING_TYPES)
        return arguments.flags(parser.parse(words))

    assert list(arguments.words(parse(typed))) == typed
