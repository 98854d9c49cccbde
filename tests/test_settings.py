"""Settings: four sources, one precedence, and errors that say which source was wrong."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from owsuper.cli.dashboard_settings import DASHBOARD_TYPES
from owsuper.errors import ConfigurationError, InvalidSchemaName
from owsuper.setting_sources import load, load_section, log_sources
from owsuper.settings import SETTING_TYPES, Settings, option_name, variable_name

# What each setting may be given as text, and what it is then.
TEXTS = {
    "modules": ("app.flows, more.py", ("app.flows", "more.py")),
    "only": ("report-*, mail", ("report-*", "mail")),
    "except_": ("report-[ab]", ("report-[ab]",)),
    "processes": ("8", 8),
    "concurrency": ("4", 4),
    "database_url": ("postgresql://db/app", "postgresql://db/app"),
    "listen_url": ("host=db dbname=app", "host=db dbname=app"),
    "namespace": ("tenant-1", "tenant-1"),
    "schema": ("Flows_2", "Flows_2"),
    "poll_interval": ("500ms", 0.5),
    "call_timeout": ("5s", 5.0),
    "lease": ("1m", 60.0),
    "graceful_timeout": ("0", 0.0),
    "burst": ("true", True),
    "kill_grace": ("500ms", 0.5),
    "max_crashes": ("5", 5),
    "max_runs_per_child": ("1000", 1000),
    "max_memory_per_child": ("500M", 500 << 20),
    "hang_timeout": ("1m", 60.0),
    "log_level": ("WARNING", "warning"),
    "log_format": ("JSON", "json"),
    "log_config": ("logging.toml", "logging.toml"),
    "log_replay": ("true", True),
    "keep_logs": ("7d", 604_800.0),
    "retain": ("30d, failed=90d", ("30d", "failed=90d")),
    "archive": ("/var/archive", "/var/archive"),
    "listen": ("false", False),
    "migrate": ("0", False),
    "preload": ("off", False),
    "durable_claims": ("yes", True),
    "metrics_port": ("9464", 9464),
    "metrics_host": ("0.0.0.0", "0.0.0.0"),
}


def pyproject(directory: Path, text: str) -> Path:
    path = directory / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_setting_has_a_case_here() -> None:
    assert TEXTS.keys() == SETTING_TYPES.keys()


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_is_read_from_a_flag(name: str, tmp_path: Path) -> None:
    text, value = TEXTS[name]
    settings = load({name: text}, {}, tmp_path)
    assert getattr(settings, name) == value
    assert settings.given == {name}


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_is_read_from_the_environment(name: str, tmp_path: Path) -> None:
    text, value = TEXTS[name]
    settings = load({}, {variable_name(name): text}, tmp_path)
    assert getattr(settings, name) == value
    assert settings.given == frozenset()


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_is_read_from_pyproject(name: str, tmp_path: Path) -> None:
    text, value = TEXTS[name]
    pyproject(tmp_path, f"[tool.owsuper]\n{option_name(name)} = {json.dumps(text)}\n")
    settings = load({}, {}, tmp_path)
    assert getattr(settings, name) == value
    assert settings.given == frozenset()


def test_pyproject_values_may_have_their_own_types(tmp_path: Path) -> None:
    pyproject(
        tmp_path,
        "[tool.owsuper]\n"
        'module = ["a", "b"]\nprocesses = 3\npoll_interval = 0.5\nlease = 45\nlisten = false\n',
    )
    settings = load({}, {}, tmp_path)
    assert settings.modules == ("a", "b")
    assert (settings.processes, settings.poll_interval, settings.lease) == (3, 0.5, 45.0)
    assert settings.listen is False


def test_a_flag_wins_over_the_environment_and_that_over_pyproject(tmp_path: Path) -> None:
    pyproject(tmp_path, "[tool.owsuper]\nprocesses = 3\nconcurrency = 3\nmax-crashes = 9\n")
    env = {"OWSUPER_PROCESSES": "2", "OWSUPER_CONCURRENCY": "2"}
    settings = load({"processes": "1"}, env, tmp_path)
    assert (settings.processes, settings.concurrency, settings.max_crashes) == (1, 2, 9)


def test_an_overruled_source_is_not_read(tmp_path: Path) -> None:
    assert load({"processes": "1"}, {"OWSUPER_PROCESSES": "many"}, tmp_path).processes == 1


def test_an_absent_flag_and_an_empty_variable_leave_the_default(tmp_path: Path) -> None:
    settings = load({"schema": None}, {"OWSUPER_NAMESPACE": ""}, tmp_path)
    assert (settings.schema, settings.namespace) == ("openworkflow", "default")
    assert settings.given == frozenset()


@pytest.mark.parametrize(
    "text",
    ["", "[project]\nname = 'x'\n", "tool = 3\n", "[tool.other]\nprocesses = 0\n"],
    ids=["empty", "no tool table", "tool is no table", "another tool"],
)
def test_a_pyproject_without_our_table_changes_nothing(text: str, tmp_path: Path) -> None:
    pyproject(tmp_path, text)
    assert load({}, {}, tmp_path) == Settings()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("1.5", 1.5),
        ("30s", 30.0),
        ("1500ms", 1.5),
        ("5 m", 300.0),
        ("1h", 3600.0),
        (timedelta(minutes=2), 120.0),
        (30, 30.0),
    ],
)
def test_a_bare_number_is_seconds(text: object, seconds: float, tmp_path: Path) -> None:
    assert load({"lease": text}, {}, tmp_path).lease == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("500M", 500 << 20),
        ("500 MB", 500 << 20),
        ("1.5GiB", 3 << 29),
        ("2g", 2 << 30),
        ("4096k", 4 << 20),
        (1 << 20, 1 << 20),
        (None, None),
        ("off", None),
    ],
)
def test_sizes_have_units_in_powers_of_1024(text: object, count: int | None) -> None:
    assert load({"max_memory_per_child": text}, {}).max_memory_per_child == count


WHOLE = "must be a whole number from 1 to 1000"
DURATION = "such as '30s', '5m' or a number of seconds"
REFUSED = [
    ("processes", "0", WHOLE),
    ("processes", "-1", WHOLE),
    ("processes", "2.5", WHOLE),
    ("processes", "eight", "not 'eight'"),
    ("processes", "", WHOLE),
    ("processes", "9" * 5000, WHOLE),
    ("processes", True, "not True"),
    ("concurrency", "0", WHOLE),
    ("concurrency", "1001", WHOLE),
    ("max_crashes", "0", WHOLE),
    ("poll_interval", "0", "must be a duration from 10ms to 1h"),
    ("poll_interval", "-1s", "must be a duration from 10ms to 1h"),
    ("poll_interval", "2h", "must be a duration from 10ms to 1h"),
    ("poll_interval", "soon", DURATION),
    ("lease", "999ms", "must be a duration from 1s to 1d"),
    ("lease", "nan", DURATION),
    ("lease", float("nan"), DURATION),
    ("lease", "1e3", DURATION),
    ("lease", "1h30m", DURATION),
    ("lease", " 30", DURATION),
    ("lease", True, DURATION),
    ("lease", 10**400, DURATION),
    ("lease", ["30s"], DURATION),
    ("graceful_timeout", "-0.001", "must be a duration from 0s to 1d"),
    ("graceful_timeout", "inf", DURATION),
    ("kill_grace", "0", "must be a duration from 100ms to 1h"),
    (
        "max_memory_per_child",
        "500",
        "must be a size from 1M to 1024T, such as '500M' or '2G', or off, not '500'",
    ),
    ("max_memory_per_child", "1K", "must be a size from 1M to 1024T"),
    ("max_memory_per_child", "-5M", "must be a size from 1M to 1024T"),
    ("max_memory_per_child", True, "must be a size from 1M to 1024T"),
    ("max_memory_per_child", "1025T", "must be a size from 1M to 1024T"),
    ("max_memory_per_child", "9" * 400 + "T", "must be a size from 1M to 1024T"),
    ("max_memory_per_child", 10**400, "must be a size from 1M to 1024T"),
    ("log_level", "loud", "must be one of debug, info, warning, error, critical, not 'loud'"),
    ("log_level", 10, "must be one of"),
    ("log_format", "xml", "must be one of text, json, not 'xml'"),
    ("log_config", "", "must be non-empty text"),
    ("listen", "maybe", "must be true or false, not 'maybe'"),
    ("listen", 1, "must be true or false, not 1"),
    ("namespace", "", "must be non-empty text"),
    ("namespace", "a\0b", "must be non-empty text"),
    ("namespace", "\ud800", "must be text in UTF-8, not"),
    ("namespace", 3, "must be non-empty text, not 3"),
    ("modules", 3, "must be one name or a list of names"),
    ("modules", [3], "must be non-empty text, not 3"),
    ("only", 3, "must be one pattern or a list of patterns"),
    ("except_", [""], "must be non-empty text"),
    ("database_url", "", "must be a URL such as postgresql://"),
    ("database_url", "mysql://db/app", "must begin with postgresql://, not with mysql://"),
    ("listen_url", "postgresql+psycopg://db", "not with postgresql+psycopg://"),
]


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_an_invalid_flag_is_named_with_the_allowed_values(
    name: str, value: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({name: value}, {}, tmp_path)
    assert str(caught.value).startswith(f"--{option_name(name)}: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_error_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^OWSUPER_POLL_INTERVAL: must be a duration"):
        load({}, {"OWSUPER_POLL_INTERVAL": "soon"}, tmp_path)


@pytest.mark.parametrize("switch", ["LISTEN", "MIGRATE", "PRELOAD"])
def test_a_variable_named_after_a_no_flag_is_refused_with_advice(
    switch: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=f"^OWSUPER_NO_{switch}: .*OWSUPER_{switch}=false"):
        load(env={f"OWSUPER_NO_{switch}": "1"}, cwd=tmp_path)


def test_a_variable_of_one_command_named_after_a_no_flag_is_refused_as_well(tmp_path: Path) -> None:
    env = {"OWSUPER_DASHBOARD_NO_INSECURE": "1"}
    with pytest.raises(ConfigurationError, match=r"; set OWSUPER_DASHBOARD_INSECURE=false$"):
        load_section("dashboard", DASHBOARD_TYPES, {}, env, tmp_path)


def test_an_error_from_pyproject_names_the_key_and_the_file(tmp_path: Path) -> None:
    path = pyproject(tmp_path, "[tool.owsuper]\nprocesses = 0\n")
    with pytest.raises(ConfigurationError) as caught:
        load({}, {}, tmp_path)
    assert str(caught.value) == f"[tool.owsuper] processes in {path}: {WHOLE}, not 0"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("proceses", "did you mean processes?"),
        ("modules", "did you mean module?"),
        ("pollinterval", "did you mean poll-interval?"),
        ("xyzzy", "allowed are module, only, except, processes, concurrency, "),
    ],
)
def test_an_unknown_key_in_pyproject_is_refused_with_a_hint(
    key: str, hint: str, tmp_path: Path
) -> None:
    path = pyproject(tmp_path, f"[tool.owsuper]\n{key} = 1\n")
    with pytest.raises(ConfigurationError) as caught:
        load({}, {}, tmp_path)
    assert str(path) in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.owsuper\n", "cannot be read"),
        ("[tool]\nowsuper = 3\n", "must be a table"),
    ],
)
def test_a_broken_pyproject_is_refused_with_its_path(
    text: str, message: str, tmp_path: Path
) -> None:
    path = pyproject(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load({}, {}, tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_an_invalid_schema_name_keeps_its_own_error_class(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchemaName, match=r"--schema: Invalid schema name \"1st\""):
        load({"schema": "1st"}, {}, tmp_path)


def test_settings_made_in_a_program_are_checked_too() -> None:
    with pytest.raises(ConfigurationError, match=r"^processes: must be a whole number"):
        Settings(processes=0)


def test_settings_survive_a_message_to_another_process() -> None:
    settings = load({name: text for name, (text, _) in TEXTS.items()}, {}, Path("/nowhere"))
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(settings), type=Settings)
    assert copy == settings
    assert copy.given == settings.given


def test_a_password_is_never_shown() -> None:
    url = "postgresql://app:hunter2@db/app"
    assert "hunter2" not in repr(Settings(database_url=url, listen_url=url))
    for bad in ("mysql://app:hunter2@db/app", "postgresql://app:hunter2@db/\0"):
        with pytest.raises(ConfigurationError) as caught:
            Settings(database_url=bad)
        assert "hunter2" not in str(caught.value)


# --- variables of other programs -------------------------------------------------------------

OTHERS = {
    "OPENWORKFLOW_POSTGRES_URL": "postgresql://reference/db",
    "DATABASE_URL": "postgresql://host/db",
    "OPENWORKFLOW_NAMESPACE_ID": "shop",
    "OPENWORKFLOW_SCHEMA": "flows",
}


def test_variables_of_other_programs_are_read_in_order(tmp_path: Path) -> None:
    settings = load({}, OTHERS, tmp_path)
    assert settings.database_url == "postgresql://reference/db"
    assert (settings.namespace, settings.schema) == ("shop", "flows")
    used = {"OPENWORKFLOW_POSTGRES_URL", "OPENWORKFLOW_NAMESPACE_ID", "OPENWORKFLOW_SCHEMA"}
    assert set(settings.borrowed) == used
    settings = load({}, {"DATABASE_URL": OTHERS["DATABASE_URL"]}, tmp_path)
    assert settings.database_url == "postgresql://host/db"
    assert settings.borrowed == ("DATABASE_URL",)


def test_all_of_our_own_sources_win_over_those_of_other_programs(tmp_path: Path) -> None:
    pyproject(tmp_path, "[tool.owsuper]\nnamespace = 'ours'\n")
    env = OTHERS | {"OWSUPER_DATABASE_URL": "postgresql://ours/db"}
    settings = load({"schema": "ours"}, env, tmp_path)
    assert settings.database_url == "postgresql://ours/db"
    assert (settings.namespace, settings.schema) == ("ours", "ours")
    assert settings.borrowed == ()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("postgres://h/d", "postgresql://h/d"),
        ("postgresql+psycopg://u:p@h/d\n", "postgresql://u:p@h/d"),
        ("postgresql+asyncpg://h/d", "postgresql://h/d"),
        ("POSTGRES://h/d", "postgresql://h/d"),
        ("postgis://h/d", "postgresql://h/d"),
        ("mysql://h/d", None),
        ("sqlite:///site.db", None),
        ("", None),
    ],
)
def test_a_database_url_may_name_a_driver_or_another_database(
    text: str, url: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = {"DATABASE_URL": text}
    settings = load({}, env, tmp_path)
    assert settings.database_url == url
    log_sources(settings, logging.getLogger("test"), env)
    assert ("DATABASE_URL is not the URL" in caplog.text) is bool(text and url is None)


@pytest.mark.parametrize("quote", "\"'")
def test_a_database_url_in_quotes_is_not_taken_for_another_database(
    quote: str, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": f"{quote}postgresql://u:secret@h/d{quote}"}
    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: must begin with") as caught:
        load({}, env, tmp_path)
    assert "secret" not in str(caught.value)


def test_variables_in_use_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_sources(load({}, OTHERS, tmp_path), logging.getLogger("test"), OTHERS)
    assert "settings come from OPENWORKFLOW_POSTGRES_URL and OPENWORKFLOW_NAMESPACE_ID" in (
        caplog.text
    )
    assert "reference" not in caplog.text  # a URL may hold a password


def test_a_mistake_names_the_variable_of_the_other_program(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchemaName, match=r"^OPENWORKFLOW_SCHEMA: "):
        load({}, {"OPENWORKFLOW_SCHEMA": "a b"}, tmp_path)


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}", "\t{} "])
def test_space_around_a_url_is_no_part_of_it(around: str, tmp_path: Path) -> None:
    for url in ("postgresql://u@h/d?sslmode=require", "host=h dbname=d"):
        env = {"OWSUPER_DATABASE_URL": around.format(url)}
        assert load({}, env, tmp_path).database_url == url
