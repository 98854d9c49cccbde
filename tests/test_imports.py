"""What each package of owsuper may import, read from the source; and no cycles among modules.

Imports under ``if TYPE_CHECKING`` count like all others.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Container, Iterator, Mapping
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
    "core": room("core errors stored_error", OUTSIDE_WORLD),
    "errors": room("stored_error", OUTSIDE_WORLD),
    "stored_error": room("", OUTSIDE_WORLD),
    # waits for descriptors and times, in supervisor and child
    "event_loop": room("", DRIVERS | {"threading"}),
    # what users write against; the connections that functions of steps get, for annotations alone
    "step": room("core db.transactions.own errors step", WITHOUT_IO),
    # ``run`` of a workflow returns a handle, which is the only name that this package takes from
    # above it, and for annotations alone
    "workflow": room("client.handle core errors step workflow", WITHOUT_IO),
    # messages between processes; no connection to the database
    "ipc": room("core.model core.schedules errors ipc settings", DRIVERS | {"asyncio"}),
    # the only room that knows SQL; no policy
    "db": room(
        "core.carriers core.model core.codec core.durations core.names core.pages core.schedules"
        " core.undoing db errors ids version"
    ),
    # deletes old runs, driven by a supervisor or a client; what it keeps goes to files
    "retention": room("core db.claims db.pruning errors event_loop retention", DRIVERS),
    # never user code, never a pool, never a thread
    "supervisor": room(
        "core.model core.retention core.schedules core.time_outs core.undoing db.claims"
        " db.connect db.crashes db.limits db.listen db.nonblocking db.presence db.pruning"
        " db.queue_state db.schedules db.statement db.sweeps errors event_loop extras ipc"
        " log_stream logs metrics retention sessions settings shortage signal_handlers supervisor"
        " version",
        "psycopg_pool threading asyncio concurrent.futures importlib runpy multiprocessing",
    ),
    # starts supervisors and waits for them; no connection
    "several": room(
        "errors event_loop several settings shortage supervisor.exit_status supervisor.signals"
        " supervisor.spawn supervisor.systemd",
        DRIVERS | {"asyncio", "threading"},
    ),
    # never claims
    "child": room(
        "child client.app client.database client.fork_safety core db.connect db.group_commit"
        " db.known_connections"
        " db.pool db.presence db.related db.reports db.runs db.transactions embedded errors"
        " event_loop ids ipc log_formats logs metrics.catalogue metrics.tally sessions settings"
        " shortage signal_handlers stderr_copy step stored_error tracing workflow",
        "psycopg_pool multiprocessing",
    ),
    "client": room(
        "client core db.clients db.conflicts db.connect db.dashboard.run_lists db.group_commit"
        " db.known_connections db.limit_reads db.lists db.migrate db.new_runs db.pauses db.pool"
        " db.pruning db.read_only db.reports db.schedule_store db.signals db.timed"
        " db.transactions db.waits db.workers embedded errors ids retention setting_sources"
        " settings step stored_error tracing workflow",
        "psycopg_pool multiprocessing",
    ),
    # a child's engine without its process, for tests of users
    "testing": room(
        "child client core db embedded errors event_loop extras ids ipc step stored_error testing"
        " workflow OpenWorkflow Worker",
        "multiprocessing",
    ),
    # what web applications need of a client
    "starlette": room("client core db.waits errors extras starlette", DRIVERS | {"fastapi"}),
    "fastapi": room("client core errors extras fastapi starlette workflow", DRIVERS),
    # pages for people: reads by doors of the client, never the processes of a worker
    "dashboard": room(
        "client.app client.call_threads client.limit_reasons client.many_runs client.models"
        " client.new_run client.page_reads client.post_mortem client.reasons"
        " client.schedule_models client.schedules client.session client.signals client.waiting"
        " client.why client.workers client.workflow_status core dashboard db.audit db.clients"
        " db.connect db.dashboard db.limit_reads db.lists db.new_runs db.pauses db.queue_state"
        " db.reports db.schedule_store db.timed db.workers errors extras ids metrics.queue"
        " starlette.closing stored_error version workflow",
        "psycopg_pool multiprocessing fastapi",
    ),
    # spans, of clients and of children; nothing else knows OpenTelemetry
    "tracing": room(
        "core.carriers core.model core.steps.effects errors stored_error tracing",
        WITHOUT_IO | {"asyncio"},
    ),
    # in projects of Django
    "django": room(
        "client.app client.database client.worker core.model db.connect db.lists db.migrate django"
        " errors extras settings testing.database thread_worker"
    ),
    # measures what users see, as a user's program would
    "bench": room("bench db errors settings OpenWorkflow Step Worker"),
    # what is counted, and how Prometheus reads it; nobody imports it without need
    "metrics": room("db.queue_state errors event_loop extras ipc.messages metrics", DRIVERS),
    # examines a database; knows SQL about the server and the catalogue, and none about runs
    "doctor": room("doctor db errors settings", "psycopg_pool"),
    # what all processes need
    "settings": room("errors setting_types", WITHOUT_IO),
    "setting_types": room("core errors", WITHOUT_IO),
    "setting_sources": room("errors setting_types settings", WITHOUT_IO),
    "logs": room("log_config log_formats log_stream settings", DRIVERS),
    "log_config": room("errors", DRIVERS),
    "log_formats": room("", DRIVERS),
    "log_stream": room("stderr_copy", DRIVERS),
    "stderr_copy": room("", DRIVERS),
    "ids": room("", DRIVERS),
    "version": room("", DRIVERS),
    "extras": room("", WITHOUT_IO),
    "sessions": room("", DRIVERS),
    "shortage": room("", DRIVERS),
    "signal_handlers": room("", DRIVERS),
    "watch": room("", DRIVERS),
    # started by itself, with nothing but the standard library
    "embedded": room("embedded errors", DRIVERS),
}


def modules(name: str) -> list[Path]:
    found = [*PACKAGE.glob(f"{name}.py"), *(PACKAGE / name).rglob("*.py")]
    assert found, f"there is no owsuper.{name}"
    return sorted(found)


def imports(source: str) -> Iterator[str]:
    """The dotted names that ``source`` imports, at any place in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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


def test_a_room_may_import_nothing_that_it_does_not_import() -> None:
    unused = set()
    for name, permitted in ROOMS.items():
        found = [item for path in modules(name) for item in imports(path.read_text())]
        for seen in permitted.sees:
            if not any(within(imported, frozenset({seen})) for imported in found):
                unused.add((name, seen))
    assert unused == set()


def test_the_pool_alone_knows_its_library() -> None:
    knowing = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(
            within(imported, frozenset({"psycopg_pool"})) for imported in imports(path.read_text())
        )
    }
    assert knowing == {"db/pool.py", "db/inner_pool.py"}


def test_every_module_is_in_a_room_or_puts_rooms_together() -> None:
    composition = {"__init__", "__main__", "cli", "one_process", "thread_worker"}
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__pycache__", "py", "sql"} == composition | set(ROOMS)


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_the_rooms_of_a_framework_alone_know_it(framework: str) -> None:
    ours = frozenset({framework, f"owsuper.{framework}"})
    for path in PACKAGE.rglob("*.py"):
        users = ("starlette", "fastapi", "dashboard") if framework == "starlette" else ("fastapi",)
        if path.relative_to(PACKAGE).parts[0] not in users:
            found = [each for each in imports(path.read_text()) if within(each, ours)]
            assert found == [], path


def test_one_room_alone_knows_opentelemetry() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] != "tracing":
            library = frozenset({"opentelemetry"})
            found = [each for each in imports(path.read_text()) if within(each, library)]
            assert found == [], path


def test_nothing_but_its_command_knows_the_bench() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "bench" not in path.relative_to(PACKAGE).with_suffix("").parts:
            found = [each for each in imports(path.read_text()) if each.startswith(BENCH)]
            assert found == [], path


def test_the_keeper_of_the_embedded_server_needs_nothing_but_the_standard_library() -> None:
    scripts = {"keeper", "account", "postmaster"}
    for script in scripts:
        for imported in imports((PACKAGE / "embedded" / f"{script}.py").read_text()):
            known = within(imported, frozenset({"owsuper.embedded"}))  # for type checkers
            assert known or imported.partition(".")[0] in sys.stdlib_module_names | scripts


def module_graph() -> dict[str, set[str]]:
    """The modules of owsuper, each with the modules of owsuper that it names in an import.

    That a module's packages are imported before it is not counted.
    """
    sources = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = path.read_text()
    return {
        name: {module_of(imported, sources) for imported in imports(source)} & sources.keys()
        for name, source in sources.items()
    }


def module_of(imported: str, known: Container[str]) -> str:
    """The module that is imported with the name ``imported``, which may be of something in it."""
    while imported and imported not in known:
        imported = imported.rpartition(".")[0]
    return imported


def cycle_in(graph: Mapping[str, Collection[str]]) -> list[str]:
    """The nodes of one cycle, in order, the first repeated at the end; empty without a cycle."""
    finished: set[str] = set()
    path: list[str] = []

    def visit(node: str) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        path.append(node)
        for following in sorted(graph[node]):
            if cycle := visit(following):
                return cycle
        finished.add(path.pop())
        return []

    return next((cycle for node in sorted(graph) if (cycle := visit(node))), [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    cycle = cycle_in(module_graph())
    assert not cycle, " -> ".join(cycle)


def test_no_class_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name != "Meta":  # Django's own name
                places.setdefault(node.name.lstrip("_"), []).append(f"{path.name}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
if TYPE_CHECKING:
    import for_types
def function():
    try:
        from a.b import c
    except ImportError:
        import d
    match 1:
        case _:
            import e
"""
    assert set(imports(source)) == {"for_types", "a.b.c", "d", "e"}
    assert within("owsuper.db.runs.RunStore", frozenset({"owsuper.db"}))
    assert not within("owsuper.dbx", frozenset({"owsuper.db"}))


def test_a_cycle_is_found_and_named() -> None:
    assert cycle_in({"a": {"b", "c"}, "b": set(), "c": {"b"}}) == []
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}) == ["b", "c", "d", "b"]
    assert cycle_in({"a": {"a"}}) == ["a", "a"]
