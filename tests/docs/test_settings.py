"""docs/settings.md lists the settings that the code has, and its example configures a worker."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest

from owsuper import setting_sources
from owsuper.cli import arguments
from owsuper.settings import SETTING_TYPES
from tests.docs import settings_page
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/settings.md")
README = Document("README.md")
README.covers("flows")


def test_the_table_is_up_to_date() -> None:
    assert settings_page.generated(PAGE.text) == PAGE.text, (
        "docs/settings.md is stale; run: python -m tests.docs.settings_page"
    )


def test_every_flag_in_the_table_is_a_flag_of_the_worker() -> None:
    parser = arguments.Parser("owsuper")
    arguments.add_settings(parser, SETTING_TYPES)
    read = set()
    for no, option in re.findall(r"^\| `--(\[no-\])?([\w-]+)` \|", PAGE.text, re.M):
        read |= set(vars(parser.parse([f"--no-{option}"] if no else [f"--{option}", "1"])))
    assert read == set(SETTING_TYPES)


@PAGE.covers("pyproject")
@pytest.mark.slow
def test_a_worker_is_configured_by_pyproject_toml(connected: Sandbox) -> None:
    text = PAGE["pyproject"]
    assert set(tomllib.loads(text)["tool"]["owsuper"]) == {"module", "processes", "poll-interval"}
    connected.write("pyproject.toml", text)
    connected.write("app/workflows.py", README["flows"])
    read = setting_sources.load(env={}, cwd=connected.directory)
    assert (read.modules, read.processes, read.poll_interval) == (("app.workflows",), 4, 0.5)
    connected.worker("owsuper")
    program = (
        "from app.workflows import *; "
        "print(send_welcome_email.run(Welcome(7)).result(timeout=30).address)"
    )
    assert connected.run(f"python -c {shlex.quote(program)}") == "user-7@example.com\n"


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
