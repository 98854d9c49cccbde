"""``settings.OWSUPER``: what it may say, and the errors about what it may not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from owsuper.django.project_settings import read
from owsuper.errors import ConfigurationError


def test_the_database_is_the_default_one_unless_another_is_named() -> None:
    assert read({}).alias == "default"
    assert read({"DATABASE": "flows"}).alias == "flows"
    url = "postgresql://127.0.0.1/flows"
    assert (read({"DATABASE_URL": url}).alias, read({"DATABASE_URL": url}).values) == (
        None,
        {"database_url": url},
    )


def test_every_setting_of_owsuper_is_one_but_for_the_modules() -> None:
    values = {
        "NAMESPACE": "mine",
        "SCHEMA": "flows",
        "LEASE": timedelta(minutes=1),
        "PROCESSES": 4,
        "MIGRATE": False,
        "LISTEN": None,
    }
    chosen = read(values)
    assert chosen.values == {
        "namespace": "mine",
        "schema": "flows",
        "lease": 60.0,
        "processes": 4,
        "migrate": False,
    }
    assert (chosen.schema, chosen.namespace, chosen.migrates) == ("flows", "mine", False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("default", r"OWSUPER: must be a dict such as \{'DATABASE': 'default'\}, not 'default'"),
        ({"PROCESES": 1}, r'OWSUPER\["PROCESES"\]: .*no such setting; did you mean PROCESSES\?'),
        ({"processes": 1}, r'OWSUPER\["processes"\]: .*did you mean PROCESSES\?'),
        (
            {"COLOR": 1},
            r'OWSUPER\["COLOR"\]: .*allowed are DATABASE, RUN_URL, ONLY, EXCEPT, PROCESSES',
        ),
        ({3: 1}, r'OWSUPER\["3"\]: there is no such setting'),
        ({"MODULES": ["shop"]}, r"workflows\.py of each app is imported"),
        ({"PROCESSES": "many"}, r'OWSUPER\["PROCESSES"\]: must be a whole number'),
        ({"SCHEMA": "a-b"}, r'OWSUPER\["SCHEMA"\]: '),
        ({"DATABASE": 3}, r'OWSUPER\["DATABASE"\]: must be an alias of DATABASES, not 3'),
        ({"DATABASE_URL": "mysql://x"}, r'OWSUPER\["DATABASE_URL"\]: must begin with postgresql'),
        ({"DATABASE": "a", "DATABASE_URL": "postgresql://b"}, r"not both"),
        ({"RUN_URL": "https://example.com"}, r'OWSUPER\["RUN_URL"\]: .* with \{id\} in it'),
        ({"RUN_URL": 3}, r'OWSUPER\["RUN_URL"\]: .* with \{id\} in it'),
    ],
)
def test_a_mistake_is_named(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read(given)
