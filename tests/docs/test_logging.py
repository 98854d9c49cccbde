"""docs/logging.md: its examples configure logging as it says."""

from __future__ import annotations

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/logging.md")


def worker_log(sandbox: Sandbox, name: str, last_line: str, options: str = "") -> str:
    """The log of a worker of this example that has executed a run, up to ``last_line``."""
    sandbox.write("shop.py", PAGE[name])
    worker = sandbox.worker(f"owsuper --processes 1 --module shop.py {options}")
    sandbox.run("python -c 'from shop import order; order.run(\"1-56\")'")
    worker.stderr.wait_for(last_line)
    worker.terminate()
    assert worker.wait() == 0
    worker.end()
    return worker.stderr.text


@PAGE.covers("configured")
def test_basic_config_rules_the_lines_of_the_application(connected: Sandbox) -> None:
    log = worker_log(connected, "configured", r"^INFO shop: reserving 1-56$")
    assert "Z INFO" in log  # those of the supervisor
    assert log.count("reserving") == 1


@PAGE.covers("fields")
def test_lines_of_the_application_name_their_run(connected: Sandbox) -> None:
    pattern = (
        r" INFO \d+ shop: reserving isbn=1-56 run_id=\S+ workflow=order step=reserve attempt=1$"
    )
    log = worker_log(connected, "fields", pattern)
    assert " order: a new order run_id=" in log


@PAGE.covers("file")
def test_a_file_configures_logging(connected: Sandbox) -> None:
    connected.write("logging.toml", PAGE["file"])
    log = worker_log(connected, "fields", r"^INFO shop \S+ reserving$", "--log-config logging.toml")
    assert "INFO owsuper.supervisor - ready: " in log


@PAGE.covers("taken-over")
def test_the_lines_of_the_worker_pass_through_handlers_of_the_application(
    connected: Sandbox,
) -> None:
    pattern = r'^\{"logger": "owsuper\.child", "message": "step failed", "run": "[0-9a-f-]{36}"\}$'
    log = worker_log(connected, "taken-over", pattern)
    assert "Z WARNING" not in log


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
