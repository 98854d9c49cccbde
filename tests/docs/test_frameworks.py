"""What docs/frameworks.md says of Flask, web servers, scripts and notebooks is so."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document
from tests.fixtures.ports import free_port, wait_until_accepting

pytestmark = pytest.mark.slow

FRAMEWORKS = Document("docs/frameworks.md")
FRAMEWORKS.covers("shop")


@pytest.fixture
def shop(connected: Sandbox) -> Sandbox:
    connected.write("shop.py", FRAMEWORKS["shop"])
    for server in ("gunicorn", "uvicorn"):
        connected.add_module_command(server)
    connected.env["PORT"] = str(free_port())
    return connected


def ask(shop: Sandbox, path: str, method: str = "GET") -> str:
    url = f"http://127.0.0.1:{shop.env['PORT']}{path}"
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=120) as response:
        return str(response.read().decode())


@FRAMEWORKS.covers("flask", "flask-worker", "flask-commands", "gunicorn")
def test_flask_under_gunicorn_with_preload_starts_runs_whose_steps_find_the_application(
    shop: Sandbox,
) -> None:
    pytest.importorskip("flask")
    pytest.importorskip("gunicorn")
    # The application is used before the fork, and a step looks for it.
    shop.write("web.py", FRAMEWORKS["flask"] + "\n\nprint('runs:', ow.count_runs().pending)\n")
    shop.write("jobs.py", FRAMEWORKS["flask-worker"])
    shop.write(
        "shop.py",
        FRAMEWORKS["shop"].replace('f"shipped {item}"', "current_app.config['PLACE'] + item")
        + "\nfrom flask import current_app\n",
    )
    shop.env["FLASK_PLACE"] = "home: "
    worker = shop.worker(FRAMEWORKS["flask-commands"].strip() + " --processes 1")
    worker.stderr.wait_for("ready: ", timeout=120)
    server = shop.start("exec " + FRAMEWORKS["gunicorn"])
    server.stderr.wait_for(r"Booting worker with pid: (\d+)", count=2, timeout=120)
    assert server.stdout.wait_for(r"^runs: 0")
    runs = [json.loads(ask(shop, f"/orders/{item}", "POST"))["id"] for item in range(8)]
    assert len(set(runs)) == 8
    waited = shop.run("\n".join(f"owsuper runs wait {run}" for run in runs), timeout=240)
    assert waited.split("\n")[:8] == [f'"home: {item}"' for item in range(8)]
    assert json.loads(ask(shop, f"/orders/{runs[0]}"))["status"] == "completed"
    server.terminate()
    assert server.wait() == 0
    assert "Traceback" not in server.stderr.text


@FRAMEWORKS.covers("asgi", "uvicorn")
def test_uvicorn_with_two_workers_waits_for_results(shop: Sandbox) -> None:
    pytest.importorskip("uvicorn")
    shop.write("asgi.py", FRAMEWORKS["asgi"])
    shop.worker("owsuper --processes 1 --module shop").stderr.wait_for("ready: ", timeout=120)
    server = shop.start("exec " + FRAMEWORKS["uvicorn"])
    server.stderr.wait_for("Started server process", count=2, timeout=120)
    wait_until_accepting(int(shop.env["PORT"]))
    assert [ask(shop, f"/item-{number}") for number in range(8)] == [
        f"shipped item-{number}" for number in range(8)
    ]
    server.terminate()
    server.wait()
    assert "Traceback" not in server.stderr.text


@FRAMEWORKS.covers("script")
def test_a_script_is_its_own_worker(shop: Sandbox) -> None:
    shop.write("nightly.py", FRAMEWORKS["script"])
    assert shop.run("python nightly.py") == "['shipped tea', 'shipped milk']\n"


@FRAMEWORKS.covers("cell-define", "cell-run", "cell-stop")
def test_a_notebook_executes_the_workflows_of_its_cells(shop: Sandbox) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    define, run = FRAMEWORKS["cell-define"], FRAMEWORKS["cell-run"]
    again = define.split("\n\n\n")[-1].replace("Hello", "Goodbye")
    later = """
@ow.workflow
async def agreet(step: AsyncStep, name: str) -> str:
    async def hello() -> str:
        return f"async {name}"
    return await step.run("greet", hello)

await (await agreet.arun("Bob")).aresult(timeout="30s")
"""
    cells = [define, run, again + "\n" + run, "from owsuper import AsyncStep\n" + later]
    cells += [FRAMEWORKS["cell-stop"] + "\nworker.running"]
    shop.write("cells.json", json.dumps(cells))
    shop.write("run.py", RUN_NOTEBOOK)
    shop.env |= {"JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(shop.directory / "ipython")}
    printed = shop.run("python run.py", timeout=240)
    assert re.findall(r"^RESULT (.*)$", printed, re.M) == [
        "None",
        "'Hello, Ada!'",
        "'Goodbye, Ada!'",
        "'async Bob'",
        "False",
    ]
    assert "ERROR" not in printed


RUN_NOTEBOOK = """
import json
import warnings
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

book = nbformat.v4.new_notebook()
texts = json.loads(Path("cells.json").read_text())
book.cells = [nbformat.v4.new_code_cell(text) for text in texts]
# The ports that a kernel gets otherwise are free when they are chosen, and perhaps not later.
sockets = Config(KernelManager={"transport": "ipc"})
options = {"timeout": 200, "startup_timeout": 200, "kernel_name": "python3"}
NotebookClient(book, config=sockets, **options).execute()
for cell in book.cells:
    results = [each.data["text/plain"] for each in cell.outputs if "data" in each]
    print("RESULT", *(results or [None]))
    print([each for each in cell.outputs if "data" not in each])
"""


def test_every_example_of_the_page_is_executed() -> None:
    assert FRAMEWORKS.unexecuted() == []
