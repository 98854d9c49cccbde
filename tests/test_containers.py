"""What is shipped for containers: as far as it can be judged without an engine that runs them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from owsuper import setting_sources
from owsuper.cli import COMMANDS, arguments
from owsuper.settings import Settings
from tests.docs.documents import Document
from tests.fixtures.processes import Spawn

ROOT = Path(__file__).resolve().parents[1]
PAGE = Document("docs/operations.md")
AFTER_GRACEFUL_TIMEOUT = 8.0  # seconds: stop, TERM, KILL, last writes, the template


SUPERVISOR_AND_TEMPLATE = 150e6  # bytes, for an application that needs 100 MB


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile and their arguments."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined)]


def stages(text: str) -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions(text):
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


DOCKERFILE = (ROOT / "Dockerfile").read_text()
BUILD, IMAGE = stages(DOCKERFILE)


def last(stage: list[tuple[str, str]], name: str) -> str:
    return [rest for each, rest in stage if each == name][-1]


def read_worker(argv: list[str], env: dict[str, str] | None = None) -> Settings:
    """The settings of a worker with these arguments; wrong ones raise ConfigurationError."""
    parser = arguments.Parser("owsuper")
    COMMANDS["worker"].add_options(parser)
    return setting_sources.load(arguments.flags(parser.parse(argv)), env=env or {}, cwd=Path("/"))


def check_probe(argv: list[str]) -> float:
    """The time limit of a health check, in seconds; a wrong command raises ConfigurationError."""
    assert argv[:2] == ["owsuper", "healthcheck"]
    parser = arguments.Parser("owsuper healthcheck")
    COMMANDS["healthcheck"].add_options(parser)
    timeout: float = parser.parse(argv[2:]).timeout
    return timeout


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


# --- the image -------------------------------------------------------------------------------


def test_what_is_built_with_does_not_end_up_in_the_image() -> None:
    copied = [rest for name, rest in IMAGE if name == "COPY"]
    assert copied == ["--from=build /opt/owsuper /opt/owsuper"]
    assert BUILD[0][1].split()[0] == IMAGE[0][1].split()[0]  # the interpreter that it links to


def test_the_image_runs_as_a_user_who_is_not_root() -> None:
    user, group = last(IMAGE, "USER").split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_process_1_is_the_worker_itself() -> None:
    """In the shell form a shell would be process 1, and pass no TERM on."""
    assert json.loads(last(IMAGE, "ENTRYPOINT")) == ["owsuper"]
    assert json.loads(last(IMAGE, "CMD")) == ["worker"]
    assert last(IMAGE, "STOPSIGNAL") == "SIGTERM"
    for stage in (BUILD, IMAGE):
        for name, rest in stage:
            if name in ("RUN", "CMD", "ENTRYPOINT"):
                assert isinstance(json.loads(rest), list)


def test_the_image_has_a_health_check_that_ends_before_it_is_ended() -> None:
    options, _, command = last(IMAGE, "HEALTHCHECK").partition("CMD ")
    limit = dict(option.removeprefix("--").split("=") for option in options.split())["timeout"]
    assert check_probe(json.loads(command)) < seconds(limit)


@pytest.mark.slow
@pytest.mark.once
def test_what_is_copied_suffices_to_build_the_package(tmp_path: Path) -> None:
    source, ignored = tmp_path / "src", (ROOT / ".dockerignore").read_text().splitlines()
    source.mkdir()
    for arguments_ in [rest.split() for name, rest in BUILD if name == "COPY"]:
        for each in arguments_[:-1]:
            assert f"!{each}" in ignored  # else it is no part of what Docker sends to be built
            if (ROOT / each).is_dir():
                shutil.copytree(ROOT / each, source / arguments_[-1], dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / each, source / arguments_[-1])
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", source],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = (source / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "owsuper/cli/healthcheck.py" in names
    assert any(name.startswith("owsuper/sql/queries/") for name in names)


@PAGE.covers("dockerfile")
def test_the_documented_application_ends_as_the_user_of_the_image() -> None:
    (application,) = stages(PAGE["dockerfile"])
    assert last(application, "USER") == last(IMAGE, "USER")
    assert read_worker(json.loads(last(application, "CMD"))).modules == ("app.workflows",)
    (pip, *_) = json.loads(last(application, "RUN"))
    assert pip == "/opt/owsuper/bin/pip"


# --- compose ---------------------------------------------------------------------------------


@pytest.fixture
def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def test_two_workers_wait_for_a_database_that_is_healthy(compose: dict[str, Any]) -> None:
    worker, database = compose["services"]["worker"], compose["services"]["database"]
    assert worker["deploy"]["replicas"] == 2
    assert worker["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert "healthcheck" in database
    (volume,) = (each.partition(":")[0] for each in database["volumes"])
    assert volume in compose["volumes"]


def test_the_workers_url_fits_the_database(compose: dict[str, Any]) -> None:
    server = compose["services"]["database"]["environment"]
    user, password, name = (server[f"POSTGRES_{key}"] for key in ("USER", "PASSWORD", "DB"))
    url = compose["services"]["worker"]["environment"]["OWSUPER_DATABASE_URL"]
    assert url == f"postgresql://{user}:{password}@database:5432/{name}"


def test_compose_lets_the_workers_finish(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    read = read_worker(worker["command"], worker["environment"])
    allowed = seconds(worker["stop_grace_period"])
    assert allowed >= read.graceful_timeout + AFTER_GRACEFUL_TIMEOUT


@PAGE.covers("compose")
@pytest.mark.slow
@pytest.mark.once
def test_the_command_of_compose_serves_the_example(
    compose: dict[str, Any], spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    worker = compose["services"]["worker"]
    (mount,) = worker["volumes"]
    host, inside, _ = mount.split(":")
    command = [each.replace(inside, str(ROOT / host)) for each in worker["command"]]
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    serving = spawn_owsuper(*command, env=env, cwd=tmp_path)
    serving.stderr.wait_for(": ready: ")
    (line,) = (line for line in PAGE["compose"].splitlines() if "exec worker" in line)
    assert line in (ROOT / "compose.yaml").read_text()
    starting = spawn_owsuper(*shlex.split(line)[5:], env=env, cwd=tmp_path)
    assert starting.wait() == 0
    assert (tmp_path / "outbox").is_dir()


# --- Kubernetes ------------------------------------------------------------------------------


@pytest.fixture
def deployment() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "kubernetes" / "worker.yaml").read_text())
    assert (loaded["apiVersion"], loaded["kind"]) == ("apps/v1", "Deployment")
    return loaded


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_deployment_selects_its_own_pods(deployment: dict[str, Any]) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_kubernetes_lets_the_workers_finish(deployment: dict[str, Any]) -> None:
    pod, worker = deployment["spec"]["template"]["spec"], container(deployment)
    env = {each["name"]: each["value"] for each in worker["env"] if "value" in each}
    read = read_worker(worker["args"], env)
    assert read.processes == 2
    limit = worker["resources"]["limits"]["memory"]
    assert limit == "1Gi"
    assert read.max_memory_per_child is not None
    assert read.processes * read.max_memory_per_child < 2**30 - SUPERVISOR_AND_TEMPLATE
    assert pod["terminationGracePeriodSeconds"] >= read.graceful_timeout + AFTER_GRACEFUL_TIMEOUT


def test_the_probes_end_before_they_are_ended(deployment: dict[str, Any]) -> None:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container(deployment)[name]
        assert check_probe(probe["exec"]["command"]) < probe["timeoutSeconds"]


def test_an_outage_of_the_database_restarts_no_worker(deployment: dict[str, Any]) -> None:
    command = container(deployment)["livenessProbe"]["exec"]["command"]
    assert "--live" in command
    assert "--ready" in container(deployment)["readinessProbe"]["exec"]["command"]


def test_the_pod_runs_as_the_user_of_the_image(deployment: dict[str, Any]) -> None:
    context = deployment["spec"]["template"]["spec"]["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == last(IMAGE, "USER")
    assert context["runAsNonRoot"] is True


@PAGE.covers("docker")
def test_the_documented_time_to_stop_suffices() -> None:
    (found,) = re.findall(r"--stop-timeout (\d+)", PAGE["docker"])
    assert int(found) >= Settings().graceful_timeout + AFTER_GRACEFUL_TIMEOUT


def test_everything_for_containers_is_in_the_source_distribution() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for name in ("Dockerfile", ".dockerignore", "compose.yaml", "kubernetes", "systemd"):
        assert f'"/{name}",' in project
