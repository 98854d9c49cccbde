"""The file of --log-config: JSON, TOML or INI, and every mistake in it has its message."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from owsuper import log_config, logs
from owsuper.errors import ConfigurationError
from owsuper.settings import Settings

JSON = json.dumps({"loggers": {"shop.x": {"level": "ERROR"}}})
TOML = '[loggers."shop.x"]\nlevel = "ERROR"\n'
INI = """
[loggers]
keys=root,x
[handlers]
keys=
[formatters]
keys=
[logger_root]
level=WARNING
handlers=
[logger_x]
level=ERROR
qualname=shop.x
handlers=
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, mine, own = logging.getLogger(), logging.getLogger("shop.x"), logging.getLogger("owsuper")
    before = [(each, each.handlers[:], each.level, each.propagate) for each in (root, mine, own)]
    last, path, kinds = logging.lastResort, sys.path[:], {}
    for name in logs.LOGGERS:
        kinds[name] = logging.getLogger(name).__class__
    yield
    logging.lastResort, sys.path[:] = last, path
    for name, kind in kinds.items():
        logging.getLogger(name).__class__ = kind
    for each, handlers, level, propagate in before:
        each.handlers[:] = handlers
        each.propagate = propagate
        each.setLevel(level)


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", JSON), ("a.toml", TOML), ("a.ini", INI), ("a.CONF", INI)]
)
def test_a_file_configures_loggers_and_disables_none(tmp_path: Path, name: str, text: str) -> None:
    existing = logging.getLogger("shop.existing")
    (tmp_path / name).write_text(text)
    log_config.apply(str(tmp_path / name))
    assert logging.getLogger("shop.x").level == logging.ERROR
    assert not existing.disabled


WRONG = {
    "no file": ("missing.json", None, "there is no such file"),
    "another kind": ("a.yaml", "", "must end in .json, .toml, .ini or .conf"),
    "a directory": (".json", None, "must end in"),
    "no JSON": ("a.json", "{", "it is not valid JSON"),
    "no TOML": ("a.toml", "a = ", "it is not valid TOML"),
    "no object": ("a.json", "[]", "it must hold an object, not []"),
    "other bytes": ("a.json", b"\xff", "cannot be read"),
    "no INI": ("a.ini", "x", "no section headers"),
    "an INI without loggers": ("a.ini", "[x]\n", "formatters"),
    "another version": ("a.json", '{"version": 2}', "Unsupported version: 2"),
    "an unknown class": (
        "a.json",
        '{"handlers": {"h": {"class": "nowhere.Handler"}}}',
        "Unable to configure handler 'h'",
    ),
    "an unknown level": ("a.toml", '[root]\nlevel = "LOUD"', "Unknown level: 'LOUD'"),
    "a handler that is not there": ("a.toml", '[root]\nhandlers = ["h"]', "'h'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, case: str) -> None:
    name, content, reason = WRONG[case]
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError) as info:
        log_config.apply(str(file))
    assert str(info.value).startswith(f"--log-config {file}: ")
    assert reason in str(info.value)


def test_a_process_that_reads_the_file_later_says_what_is_wrong_and_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.set_up_again(Settings(log_config=str(tmp_path / "gone.toml"), log_format="json"))
    logging.getLogger("owsuper.child").info("still here")
    first, second = capfd.readouterr().err.splitlines()
    assert "there is no such file" in json.loads(first)["message"]
    assert json.loads(second)["message"] == "still here"
