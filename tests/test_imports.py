"""Who may import whom: the walls between the rooms, checked on the source itself.

Imports under ``if TYPE_CHECKING`` are free: they say what passes through a door, not who
depends on whom.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "owsuper"

OUTSIDE_WORLD = frozenset({
    "asyncio", "concurrent.futures", "logging", "multiprocessing", "os", "psycopg",
    "psycopg_pool", "random", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "ssl", "subprocess", "tempfile", "threading", "time",
})  # fmt: skip
BENCH = "owsuper.bench"
DRIVERS = frozenset({"psycopg", "psycopg_pool"})


@dataclass(frozen=True)
class Room:
    """``sees``: the modules of ours it may import. ``never``: what else it must not."""

    sees: frozenset[str]
    never: frozenset[str] = frozenset()


def room(sees: str, never: frozenset[str] | str = frozenset()) -> Room:
    return Room(
        frozenset(f"owsuper.{name}" for name in sees.split()),
        frozenset(never.split()) if isinstance(never, str) else never,
    )


WITHOUT_IO = DRIVERS | {"threading", "socket"}

ROOMS = {
    # pure: no IO, no clock, no threads
    "core": room("core errors", OUTSIDE_WORLD),
    "errors": room("", OUTSIDE_WORLD),
    # waits for descriptors and times, in supervisor and child
    "event_loop": room("", WITHOUT_IO),
    # what users write against
    "step": room("core errors step", WITHOUT_IO),
    "workflow": room("core errors step workflow", WITHOUT_IO),
    # messages between processes; no connection to the database
    "ipc": room("core.model errors ipc settings", DRIVERS | {"asyncio"}),
    # the only room that knows SQL; no policy, no pool
    "db": room("core.model core.codec core.durations db errors ids", "psycopg_pool"),
    # never user code, never a pool, never a thread
    "supervisor": room(
        "core.model db.claims db.connect db.nonblocking db.listen db.statement errors event_loop"
        " ipc logs settings supervisor",
        "psycopg_pool threading asyncio concurrent.futures importlib runpy multiprocessing",
    ),
    # never claims
    "child": room(
        "child client.app core db.connect db.pool db.related db.runs embedded errors event_loop"
        " ids ipc logs settings step workflow",
        "multiprocessing",
    ),
    "client": room(
        "client core db.clients db.connect db.group_commit db.lists db.listen db.migrate db.pool"
        " db.statement db.waits embedded errors ids settings setting_types step workflow",
        "psycopg_pool multiprocessing",
    ),
    # measures what the others do together, from outside for the most part
    "bench": room("bench db embedded errors settings OpenWorkflow AsyncStep Step Worker"),
    # started by itself, with nothing but the standard library
    "embedded": room("embedded errors", DRIVERS),
}


def modules(name: str) -> list[Path]:
    found = [*PACKAGE.glob(f"{name}.py"), *(PACKAGE / name).rglob("*.py")]
    assert found, f"there is no owsuper.{name}"
    return sorted(found)


def imports(source: str) -> Iterator[str]:
    """The dotted names that ``source`` imports when it runs, wherever in it."""
    yield from _imports(ast.parse(source).body)


def _imports(statements: list[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, "imports are absolute"
            for alias in statement.names:
                yield f"{statement.module}.{alias.name}"
        elif isinstance(statement, ast.If) and _is_for_types(statement.test):
            yield from _imports(statement.orelse)
        else:
            for _, block in ast.iter_fields(statement):
                if isinstance(block, list):
                    yield from _imports([part for part in block if isinstance(part, ast.stmt)])
                    for part in block:
                        if isinstance(part, ast.ExceptHandler | ast.match_case):
                            yield from _imports(part.body)


def _is_for_types(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def within(name: str, modules: frozenset[str]) -> bool:
    """Whether the dotted ``name`` is one of ``modules`` or something in one of them."""
    return any(name == module or name.startswith(module + ".") for module in modules)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_what_it_may(name: str) -> None:
    breaches = [
        f"{path.relative_to(PACKAGE.parent)} imports {imported}"
        for path in modules(name)
        for imported in imports(path.read_text())
        if within(imported, ROOMS[name].never)
        or (within(imported, frozenset({"owsuper"})) and not within(imported, ROOMS[name].sees))
    ]
    assert breaches == []


def test_every_module_is_in_a_room_or_puts_rooms_together() -> None:
    composition = {
        "__init__", "__main__", "cli", "ids", "logs", "setting_types", "settings",
    }  # fmt: skip
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__pycache__", "py", "sql"} == composition | set(ROOMS)


def test_nothing_but_its_command_knows_the_bench() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "bench" not in path.relative_to(PACKAGE).with_suffix("").parts:
            found = [each for each in imports(path.read_text()) if each.startswith(BENCH)]
            assert found == [], path


def test_the_keeper_of_the_embedded_server_needs_nothing_but_the_standard_library() -> None:
    scripts = {"keeper", "account", "postmaster"}
    for script in scripts:
        for imported in imports((PACKAGE / "embedded" / f"{script}.py").read_text()):
            assert imported.partition(".")[0] in sys.stdlib_module_names | scripts


def test_the_walls_are_checked_wherever_an_import_hides() -> None:
    source = """
if TYPE_CHECKING:
    import for_types
else:
    import instead
def function():
    try:
        from a.b import c
    except ImportError:
        import d
    match 1:
        case _:
            import e
"""
    assert list(imports(source)) == ["instead", "a.b.c", "d", "e"]
    assert within("owsuper.db.runs.RunStore", frozenset({"owsuper.db"}))
    assert not within("owsuper.dbx", frozenset({"owsuper.db"}))
