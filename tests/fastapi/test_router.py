"""The router of a workflow: what may be started and signaled, and what is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urljoin

import msgspec
import psycopg
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field, field_validator

from owsuper import OpenWorkflow, OwsuperError, RunHandle, Step, Workflow
from owsuper.errors import ConfigurationError
from owsuper.fastapi import exception_handler, lifespan, run_of, workflow_router
from tests.client.conftest import Rows
from tests.fixtures.proxy import Proxy


class Item(BaseModel):
    sku: str
    count: int = Field(gt=0)


class Order(BaseModel):
    user: int
    items: list[Item] = []


@dataclass
class Receipt:
    total: int


class Decision(msgspec.Struct):
    by: str


class CardError(Exception):
    """Its message may be seen by callers."""


def place(step: Step, input: Order) -> Receipt:
    raise NotImplementedError


def sweep(step: Step) -> None:
    raise NotImplementedError


def decide(step: Step, input: Decision) -> Decision:
    raise NotImplementedError


def anything(step: Step, input):  # type: ignore[no-untyped-def]
    raise NotImplementedError


Start = Callable[..., TestClient]


@pytest.fixture
def order(ow: OpenWorkflow) -> Workflow[Order, Receipt]:
    return ow.workflow("order")(place)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start an application with the router of a workflow at /orders; return a client of it."""
    with ExitStack() as stack:

        def begin(workflow: Workflow[Any, Any], *, prefix: str = "/orders", **options: Any) -> Any:
            app = FastAPI(lifespan=lifespan(workflow.starter))  # type: ignore[arg-type]
            dependencies = options.pop("dependencies", None)
            router = workflow_router(workflow, **options)
            app.include_router(router, prefix=prefix, dependencies=dependencies)
            return stack.enter_context(TestClient(app))

        yield begin


ORDER = {"user": 7, "items": [{"sku": "tea", "count": 2}]}


# --- starting --------------------------------------------------------------------------------


def test_a_start_is_answered_with_the_place_of_the_run(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    web = start(order)
    answer = web.post("/orders", json=ORDER)
    assert answer.status_code == 202
    run_id = answer.json()["id"]
    assert answer.json() == {"id": run_id, "workflow": "order"}
    place = urljoin(str(answer.request.url), answer.headers["Location"])
    assert web.get(place).json()["id"] == run_id
    assert rows.get(run_id)["input"] == ORDER


def test_the_stored_input_has_the_defaults_and_not_what_the_type_does_not_know(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    answer = start(order).post("/orders", json={"user": 7, "admin": True})
    assert rows.get(answer.json()["id"])["input"] == {"user": 7, "items": []}


@pytest.mark.parametrize(
    ("body", "place", "reason"),
    [
        ("{}", ["user"], "Field required"),
        ('{"user": "seven"}', ["user"], "valid integer"),
        ('{"user": 7, "items": [{"sku": "tea", "count": 0}]}', ["items", 0, "count"], "greater"),
        ('{"user": NaN}', ["user"], "JSON has no nan"),
        ('{"user": 7, "items": [{"sku": "tea", "count": 1}], "more": [1e400]}', ["more", 0], "inf"),
        ('{"user": 7, "items": [{"sku": "\\u0000", "count": 1}]}', ["items", 0, "sku"], "U+0000"),
        ("", [], "should be an object"),
        ("null", [], "should be an object"),
        ("[]", [], "should be an object"),
        ("[1", [1], "JSON decode error"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_the_reason(
    order: Workflow[Order, Receipt],
    start: Start,
    rows: Rows,
    body: str,
    place: list[str | int],
    reason: str,
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = start(order).post("/orders", content=body, headers=headers)
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert detail["loc"][1:] == place or (body == "[1" and detail["type"] == "json_invalid")
    assert reason in detail["msg"]
    assert rows.count() == 0


def test_what_a_validator_raises_by_mistake_is_not_told_to_the_caller(
    ow: OpenWorkflow, rows: Rows
) -> None:
    class Checked(BaseModel):
        count: int

        @field_validator("count")
        @classmethod
        def check(cls, count: int) -> int:
            if count < 0:
                raise ValueError("not enough")
            raise LookupError("postgresql://secret")

    def take(step: Step, input: Checked) -> None:
        raise NotImplementedError

    app = FastAPI(lifespan=lifespan(ow))
    take.__annotations__["input"] = Checked
    app.include_router(workflow_router(ow.workflow("take")(take)), prefix="/orders")
    with TestClient(app, raise_server_exceptions=False) as web:
        refused = web.post("/orders", json={"count": -1})
        broken = web.post("/orders", json={"count": 1})
    assert (refused.status_code, broken.status_code) == (422, 500)
    assert "not enough" in refused.text
    assert "secret" not in broken.text
    assert rows.count() == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_was_not_sent_as_json_is_told_to_be(
    order: Workflow[Order, Receipt], start: Start, rows: Rows, kind: str
) -> None:
    web = start(order, signals={"decide": Decision})
    run_id = rows.add("order")
    for path in ("/orders", f"/orders/{run_id}/signals/decide"):
        answer = web.post(path, content=b'{"user": 7}', headers={"Content-Type": kind})
        assert answer.status_code == 415
        assert "Content-Type: application/json" in answer.json()["detail"]


@pytest.mark.parametrize("depth", [900, 100_000])
def test_json_that_is_too_deep_is_refused(
    order: Workflow[Order, Receipt], start: Start, rows: Rows, depth: int
) -> None:
    answer = start(order).post(
        "/orders",
        content="[" * depth + "]" * depth,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (400, 422)
    assert rows.count() == 0


def test_a_workflow_without_an_input_needs_no_body(
    ow: OpenWorkflow, start: Start, rows: Rows
) -> None:
    answer = start(ow.workflow("sweep")(sweep)).post("/orders")
    assert rows.get(answer.json()["id"])["input"] is None


@pytest.mark.parametrize("body", [None, 5, {"a": [1]}])
def test_an_input_without_a_type_may_be_any_json(
    ow: OpenWorkflow, start: Start, rows: Rows, body: Any
) -> None:
    answer = start(ow.workflow("any")(anything)).post("/orders", json=body)
    assert rows.get(answer.json()["id"])["input"] == body


def test_without_start_no_run_can_be_started(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    assert start(order, start=False).post("/orders", json=ORDER).status_code in (404, 405)
    assert rows.count() == 0


def test_a_router_knows_its_workflow_alone(
    ow: OpenWorkflow, order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    other = rows.add("another")
    web = start(order)
    for path in ("", "/result", "/events"):
        assert web.get(f"/orders/{other}{path}").status_code == 404
    assert web.get("/orders/%00").status_code == 404


# --- idempotency keys ------------------------------------------------------------------------


def test_starts_with_one_key_start_one_run(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    web = start(order)
    key = {"Idempotency-Key": "cart-4711"}
    ids = {web.post("/orders", json=ORDER, headers=key).json()["id"] for _ in range(3)}
    ids.add(web.post("/orders", json=ORDER).json()["id"])
    assert len(ids) == rows.count() == 2


@pytest.mark.parametrize("key", ["", "k" * 1001])
def test_a_key_that_cannot_be_one_is_refused(
    order: Workflow[Order, Receipt], start: Start, rows: Rows, key: str
) -> None:
    answer = start(order).post("/orders", json=ORDER, headers={"Idempotency-Key": key})
    assert (answer.status_code, rows.count()) == (422, 0)


def test_a_dependency_may_make_the_key(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    async def key_of_user(
        user: Annotated[str, Header()], idempotency_key: Annotated[str | None, Header()] = None
    ) -> str | None:
        return idempotency_key and f"{user}:{idempotency_key}"

    web = start(order, key=key_of_user)
    ids = {
        user: web.post("/orders", json=ORDER, headers={"user": user, "Idempotency-Key": "1"}).json()
        for user in ("ada", "bob")
    }
    assert rows.get(ids["ada"]["id"])["idempotency_key"] == "ada:1"
    assert rows.count() == 2
    assert web.post("/orders", json=ORDER).status_code == 422  # the dependency's own header
    long = {"user": "ada", "Idempotency-Key": "k" * 1000}
    assert web.post("/orders", json=ORDER, headers=long).status_code == 422


def test_without_a_key_the_header_means_nothing(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    web = start(order, key=None)
    for _ in range(2):
        web.post("/orders", json=ORDER, headers={"Idempotency-Key": "1"})
    assert rows.count() == 2


# --- attributes ------------------------------------------------------------------------------


def test_a_dependency_says_which_attributes_a_run_has(
    ow: OpenWorkflow, order: Workflow[Order, Receipt], start: Start
) -> None:
    async def attributes_of(tenant: Annotated[str, Header()]) -> dict[str, str]:
        return {"tenant": tenant}

    web = start(order, attributes=attributes_of)
    run = web.post("/orders", json=ORDER, headers={"tenant": "7"}).json()["id"]
    assert ow.get_run(run).details().attributes == {"tenant": "7"}
    assert web.post("/orders", json=ORDER).status_code == 422  # the dependency's own header


def test_the_caller_alone_gives_no_attributes(
    ow: OpenWorkflow, order: Workflow[Order, Receipt], start: Start
) -> None:
    run = start(order).post("/orders?attributes=a", json=ORDER, headers={"attributes": "a"}).json()
    assert ow.get_run(run["id"]).details().attributes == {}


def test_attributes_that_cannot_be_stored_are_refused(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    answer = start(order, attributes=lambda: {"tenant": "7" * 257}).post("/orders", json=ORDER)
    assert (answer.status_code, rows.count()) == (422, 0)
    assert "257 characters" in answer.text


@pytest.mark.parametrize("wrong", ["tenant=7", {"tenant": 7}])
def test_attributes_that_are_none_are_a_fault_of_the_program(
    order: Workflow[Order, Receipt], start: Start, rows: Rows, wrong: object
) -> None:
    web = start(order, attributes=lambda: wrong)
    with pytest.raises(ConfigurationError, match="attributes: the dependency returned"):
        web.post("/orders", json=ORDER)
    assert rows.count() == 0


# --- results ---------------------------------------------------------------------------------


def test_the_end_of_a_run_is_told_by_each_endpoint(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    web = start(order, public_errors=[CardError])
    run_id = rows.add("order")
    rows.end(run_id, status="failed", error={"name": "CardError", "message": "declined"})
    expected = {
        "id": run_id,
        "workflow": "order",
        "status": "failed",
        "result": None,
        "error": {"name": "CardError", "message": "declined"},
    }
    assert web.get(f"/orders/{run_id}").json() == expected
    assert web.get(f"/orders/{run_id}/result").json() == expected
    assert '"declined"' in web.get(f"/orders/{run_id}/events").text


def test_a_client_waits_no_longer_than_the_server_allows(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    web = start(order, longest_wait="50ms")
    run_id = rows.add("order")
    for query in ("", "?wait=3600", "?wait=0"):
        answer = web.get(f"/orders/{run_id}/result{query}")
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
    for query in ("?wait=-1", "?wait=nan", "?wait=inf", "?wait=long"):
        assert web.get(f"/orders/{run_id}/result{query}").status_code == 422


# --- signals ---------------------------------------------------------------------------------


def test_a_signal_is_sent_to_the_run_with_data_of_its_type(
    order: Workflow[Order, Receipt], start: Start, rows: Rows, ow: OpenWorkflow
) -> None:
    web = start(order, signals={"decision": Decision, "nudge": None})
    run_id = rows.add("order")
    sent: list[tuple[Any, ...]] = []

    async def send(name: str, data: Any, **options: Any) -> list[str]:
        sent.append((name, data, options["idempotency_key"]))
        return await OpenWorkflow.asend_signal(ow, name, data, **options)

    ow.asend_signal = send  # type: ignore[method-assign, assignment]
    path = f"/orders/{run_id}/signals"
    answer = web.post(f"{path}/decision", json={"by": "Ada"}, headers={"Idempotency-Key": "1"})
    assert answer.status_code == 202
    assert web.post(f"{path}/nudge").status_code == 202
    assert sent == [
        (f"decision:{run_id}", Decision(by="Ada"), "1"),
        (f"nudge:{run_id}", None, None),
    ]
    wrong = web.post(f"{path}/decision", json={"by": 3})
    assert wrong.json()["detail"][0]["loc"] == ["body", "by"]
    assert web.post(f"{path}/decision").status_code == 422
    assert web.post(f"{path}/another").status_code == 404
    assert len(sent) == 2


def test_a_run_that_has_ended_or_does_not_exist_gets_no_signal(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    web = start(order, signals={"nudge": None})
    run_id = rows.add("order")
    rows.end(run_id)
    assert web.post(f"/orders/{run_id}/signals/nudge").status_code == 409
    assert web.post("/orders/unknown/signals/nudge").status_code == 404


def test_a_run_that_continues_as_another_gets_its_signals_there(
    order: Workflow[Order, Receipt],
    start: Start,
    rows: Rows,
    conn: psycopg.Connection,
    schema: str,
) -> None:
    web = start(order, signals={"nudge": None})
    first, last = rows.add("order"), rows.add("order")
    rows.end(first, continued_as=last)
    assert web.post(f"/orders/{first}/signals/nudge").status_code == 202
    kept = conn.execute(f"SELECT signal FROM {schema}.owsuper_signals".encode()).fetchall()
    assert kept == [(f"nudge:{last}",)]


def test_a_signal_whose_data_json_has_no_form_for_is_refused(
    order: Workflow[Order, Receipt],
) -> None:
    with pytest.raises(ConfigurationError, match=r"^signals\['photo'\]"):
        workflow_router(order, signals={"photo": TestClient})


@pytest.mark.parametrize("name", ["", "a/b", "a b", "{run_id}"])
def test_a_signal_that_cannot_be_part_of_a_path_is_refused(
    order: Workflow[Order, Receipt], name: str
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be part of a path"):
        workflow_router(order, signals={name: None})


# --- where it stands, and who may use it -----------------------------------------------------


def test_a_router_works_behind_prefixes_and_in_applications_in_applications(
    order: Workflow[Order, Receipt], ow: OpenWorkflow
) -> None:
    inner = FastAPI()
    inner.include_router(workflow_router(order), prefix="/orders")
    app = FastAPI(lifespan=lifespan(ow))
    app.mount("/api", inner)
    app.include_router(workflow_router(order), prefix="/v2/orders")
    app.include_router(workflow_router(order), prefix="/käufe:neu")
    with TestClient(app, root_path="/shop") as web:
        for path in ("/shop/api/orders", "/shop/v2/orders", "/shop/k%C3%A4ufe:neu"):
            answer = web.post(path, json=ORDER)
            place = urljoin(f"https://proxy.example{path}", answer.headers["Location"])
            assert place == f"https://proxy.example{path}/{answer.json()['id']}"
            assert web.get(f"{path}/{answer.json()['id']}").status_code == 200


def test_dependencies_say_who_may_use_it(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    def check_token(token: Annotated[str | None, Header()] = None) -> None:
        if token != "secret":
            raise HTTPException(401)

    web = start(order, dependencies=[Depends(check_token)])
    run_id = rows.add("order")
    assert web.post("/orders", json=ORDER).status_code == 401
    for path in ("", "/result", "/events"):
        assert web.get(f"/orders/{run_id}{path}").status_code == 401
    assert rows.count() == 1
    assert web.post("/orders", json=ORDER, headers={"token": "secret"}).status_code == 202


def test_openapi_describes_the_input_and_the_result(
    order: Workflow[Order, Receipt], start: Start
) -> None:
    api = start(order).get("/openapi.json").json()
    body = api["paths"]["/orders"]["post"]["requestBody"]
    assert body["required"]
    schemas = api["components"]["schemas"]
    assert body["content"]["application/json"]["schema"]["$ref"].endswith("/Order")
    assert {"Order", "Item", "Receipt"} <= schemas.keys()


def test_types_that_openapi_cannot_describe_are_checked_all_the_same(
    ow: OpenWorkflow, start: Start
) -> None:
    web = start(ow.workflow("decide")(decide))
    assert web.get("/openapi.json").status_code == 200
    assert web.post("/orders", json={"by": 3}).status_code == 422
    assert web.post("/orders", json={"by": "Ada"}).status_code == 202


# --- without the database --------------------------------------------------------------------


def test_without_the_database_every_endpoint_is_answered_with_503(
    proxy: Proxy, schema: str, start: Start, rows: Rows
) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema)
    web = start(ow.workflow("order")(place), signals={"nudge": None})
    run_id = rows.add("order")
    proxy.cut()
    answers = [
        web.post("/orders", json=ORDER),
        web.get(f"/orders/{run_id}"),
        web.get(f"/orders/{run_id}/result"),
        web.get(f"/orders/{run_id}/events"),
        web.post(f"/orders/{run_id}/signals/nudge"),
    ]
    assert [answer.status_code for answer in answers] == [503] * 5
    assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
    proxy.restore()
    assert web.post("/orders", json=ORDER).status_code == 202


# --- endpoints of your own -------------------------------------------------------------------


def test_run_of_gives_the_run_of_the_path(
    order: Workflow[Order, Receipt], ow: OpenWorkflow, rows: Rows
) -> None:
    app = FastAPI(lifespan=lifespan(ow))
    app.add_exception_handler(OwsuperError, exception_handler)

    run_of_the_path = Depends(run_of(order))

    @app.post("/orders/{run_id}/cancel")
    async def cancel(run: RunHandle[Receipt] = run_of_the_path) -> str:
        await run.acancel()
        return run.id

    with TestClient(app) as web:
        run_id, other = rows.add("order"), rows.add("another")
        assert web.post(f"/orders/{run_id}/cancel").json() == run_id
        assert rows.get(run_id)["status"] == "canceled"
        for missing in (other, "unknown", "%00"):
            assert web.post(f"/orders/{missing}/cancel").status_code == 404
        done = rows.add("order")
        rows.end(done)
        answer = web.post(f"/orders/{done}/cancel")
        assert answer.status_code == 409
        assert "completed" in answer.json()["detail"]


def test_errors_in_endpoints_of_your_own_get_the_status_that_fits(
    order: Workflow[Order, Receipt], ow: OpenWorkflow, rows: Rows
) -> None:
    app = FastAPI(lifespan=lifespan(ow))
    app.add_exception_handler(OwsuperError, exception_handler)
    failed, open_ = rows.add("order"), rows.add("order")
    rows.end(failed, status="failed", error={"message": "secret"})
    calls: dict[str, Callable[[], Any]] = {
        "unknown": lambda: ow.get_run("unknown").astatus(),
        "time": lambda: ow.get_run(open_).aresult(timeout=0),
        "input": lambda: order.arun({"user": "seven"}),  # type: ignore[arg-type]
        "failed": lambda: ow.get_run(failed).aresult(),
    }

    @app.get("/{name}")
    async def call(name: str) -> Any:
        return await calls[name]()

    with TestClient(app, raise_server_exceptions=False) as web:
        answers = {name: web.get(f"/{name}") for name in calls}
    statuses = {name: answer.status_code for name, answer in answers.items()}
    assert statuses == {"unknown": 404, "time": 504, "input": 422, "failed": 500}
    assert "input.user" in answers["input"].json()["detail"]
    assert "secret" not in answers["failed"].text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signals": ["approve"]}, r"signals: must be a dict .*, not \['approve'\]"),
        ({"signals": {5: None}}, r"signals: 5 cannot be part of a path"),
        ({"public_errors": CardError}, r"public_errors: must be a list .*, not <class .*CardError"),
        ({"public_errors": ["CardError"]}, r"public_errors: must be .*, not \['CardError'\]"),
        ({"longest_wait": "-1s"}, r"longest_wait: must not be negative"),
        ({"longest_wait": "long"}, r"Invalid duration"),
        ({"start": False, "attributes": dict}, r"attributes: leave them out, as start=False"),
        ({"attributes": {"a": "b"}}, r"attributes: must be a dependency .*, not {'a': 'b'}"),
    ],
)
def test_an_option_that_cannot_be_used_is_named_when_the_router_is_made(
    order: Workflow[Order, Receipt], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        workflow_router(order, **options)


@pytest.mark.parametrize("make", [workflow_router, run_of])
def test_what_is_no_workflow_is_named(make: Callable[..., Any]) -> None:
    for wrong in ("order", place):
        with pytest.raises(ConfigurationError, match=r"is no workflow. Pass what @ow.workflow"):
            make(wrong)


def test_a_key_that_is_no_text_is_a_fault_of_the_program(
    order: Workflow[Order, Receipt], start: Start, rows: Rows
) -> None:
    web = start(order, key=lambda: 7)
    with pytest.raises(ConfigurationError, match="key: the dependency returned 7"):
        web.post("/orders", json=ORDER)
    assert rows.count() == 0


def test_a_workflow_without_a_client_has_no_router() -> None:
    workflow: Workflow[Any, Any] = Workflow(None, sweep)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="belongs to no OpenWorkflow"):
        workflow_router(workflow)
