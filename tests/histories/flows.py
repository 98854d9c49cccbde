"""The worker's application: the workflows of one history, sync or async.

One interpreter serves both: a generator that yields calls of a step object and receives their
values by ``send``.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step

HISTORY, MODE, LOG = "HISTORY_FILE", "HISTORY_MODE", "HISTORY_LOG"

Json = Any
Call = Callable[[], Any]
Calls = Generator[Call, Any, Any]

FIELDS = {
    "initialInterval": "initial_interval",
    "backoffCoefficient": "backoff_coefficient",
    "maximumInterval": "maximum_interval",
    "maximumAttempts": "maximum_attempts",
}


@dataclass
class ObjectWithOk:
    """The schema ``object-with-ok``: its error message, and the member that it adds."""

    ok: bool
    validated: bool = True

    def __post_init__(self) -> None:
        if not self.ok:
            raise ValueError("ok must be true; second issue")


class Thrown(Exception):
    """Stands for a thrown value that is no error, which Python cannot raise."""


class Returned(Exception):
    """Ends the body with a value."""

    def __init__(self, value: Json) -> None:
        self.value = value


def count_call(what: str) -> int:
    """Count a call. Returns the count so far, of all processes together."""
    path = Path(os.environ[LOG])
    line = f"{what}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
    return path.read_bytes().splitlines().count(line[:-1])


LONGER = {"50ms": "900ms", "100ms": "900ms", "200ms": "900ms"}
"""On a busy machine, a run parks only for what lasts longer than its execution. No recorded time
is that of one of these durations."""

STRETCHED = {ms: 3 * ms for ms in (400, 500, 600, 700, 900, 1200, 1400, 1500)}
"""Milliseconds of durations and of recorded times, and what they are here: while a run is parked,
a busy machine needs the time to see it."""
LONGER |= {f"{recorded}ms": f"{ms}ms" for recorded, ms in STRETCHED.items()}


def policy(given: dict[str, Any] | None, attempts: int) -> RetryPolicy | None:
    if given is None:
        return None
    return RetryPolicy(
        **(
            {"maximum_attempts": attempts}
            | {FIELDS[name]: LONGER.get(value, value) for name, value in given.items()}
        )
    )


def error(given: dict[str, Any] | None) -> Exception:
    given = given or {"message": "boom"}
    if "thrown" in given:
        return Thrown(str(given["thrown"]))
    kind = type(given.get("name", "Error"), (Exception,), {})
    return kind(given["message"])


class Interpreter:
    """One execution of one workflow."""

    def __init__(self, step: Any, definition: dict[str, Any], input: Json) -> None:
        self.step = step
        self.definition = definition
        self.input = vars(input) if isinstance(input, ObjectWithOk) else input
        self.variables: dict[str, Json] = {}

    def value(self, given: Json) -> Json:
        if isinstance(given, dict):
            if "$var" in given:
                return self.variables.get(given["$var"])
            if "$input" in given:
                return self.input
            if "$undefined" in given:
                return None
            return {
                name: self.value(each)
                for name, each in given.items()
                if not (isinstance(each, dict) and "$undefined" in each)
            }
        if isinstance(given, list):
            return [self.value(each) for each in given]
        return given

    def body(self) -> Calls:
        execution = count_call(f"execution:{self.definition['name']}")
        try:
            for operation in self.definition["body"]:
                yield from self.perform(operation, execution)
        except Returned as returned:
            return returned.value
        return None

    def calls(self, operations: list[dict[str, Any]], execution: int) -> Calls:
        for operation in operations:
            yield from self.perform(operation, execution)

    def perform(self, op: dict[str, Any], execution: int) -> Calls:
        match op["op"]:
            case "step":
                call = self.function_step(op)
            case "sleep":
                call = self.plain("sleep", op["name"], LONGER.get(op["duration"], op["duration"]))
            case "child":
                call = self.plain(
                    "run_workflow",
                    WORKFLOWS.get(op["workflow"], op["workflow"]),
                    self.value(op.get("input")),
                    name=op.get("name"),
                    timeout=timeout(op),
                )
            case "wait_signal":
                call = self.plain(
                    "wait_for_signal",
                    op["signal"],
                    name=op.get("name"),
                    timeout=timeout(op),
                    type=ObjectWithOk if "schema" in op else None,
                )
            case "send_signal":
                call = self.plain(
                    "send_signal", op["signal"], self.value(op.get("data")), name=op.get("name")
                )
            case "parallel":
                yield Parallel([self.calls(branch, execution) for branch in op["branches"]])
                return
            case "try" | "try_all":
                try:
                    yield from self.calls(op["body"], execution)
                except Returned:
                    raise
                except Exception as exc:
                    self.variables["caught"] = {"message": str(exc)}
                    yield from self.calls(op["catch"], execution)
                return
            case "throw":
                times = count_call(f"throw:{op.get('counter', 't')}")
                if times <= op.get("first", times):
                    raise error(op["error"])
                return
            case "repeat":
                for index in range(op["times"]):
                    yield from self.calls(numbered(op["body"], index), execution)
                return
            case "by_execution":
                cases = op["cases"]
                yield from self.calls(cases[min(execution, len(cases)) - 1], execution)
                return
            case "return":
                raise Returned(self.value(op["value"]))
            case other:
                raise AssertionError(f"no such operation: {other}")
        result = yield call
        if op["op"] == "send_signal":
            result = {"workflowRunIds": result}
        if op["op"] == "wait_signal" and result is not None:
            data = result.data
            result = {"data": vars(data) if isinstance(data, ObjectWithOk) else data}
        if "as" in op:
            self.variables[op["as"]] = result

    def plain(self, method: str, *args: Any, **options: Any) -> Call:
        return lambda: getattr(self.step, method)(*args, **options)

    def function_step(self, op: dict[str, Any]) -> Call:
        counter = f"step:{op.get('counter', op['name'])}"

        def work() -> Json:
            times = count_call(counter)
            time.sleep(op.get("delay_ms", 0) / 1000)
            if op.get("always_fail") or times <= op.get("fail_first", 0):
                raise error(op.get("error"))
            return self.value(op["result"])

        return lambda: self.step.run(
            op["name"], work, retry=policy(op.get("retryPolicy"), RetryPolicy().maximum_attempts)
        )


@dataclass
class Parallel:
    """Branches to be executed at the same time."""

    branches: list[Calls]


def numbered(operations: list[dict[str, Any]], index: int) -> list[dict[str, Any]]:
    text = json.dumps(operations).replace("${i}", str(index))
    return list(json.loads(text))


def timeout(op: dict[str, Any]) -> Any:
    """The time-out of ``op``. Numbers are milliseconds in histories and seconds in owsuper."""
    given = op.get("timeout")
    return given / 1000 if isinstance(given, (int, float)) else LONGER.get(given, given)


def drive(calls: Calls, step: Step) -> Any:
    """Perform the calls in a sync workflow."""
    try:
        call = next(calls)
        while True:
            try:
                if isinstance(call, Parallel):
                    value = step.parallel(*(partial(drive, calls, step) for calls in call.branches))
                else:
                    value = call()
            except Exception as exc:
                call = calls.throw(exc)
            else:
                call = calls.send(value)
    except StopIteration as done:
        return done.value


async def drive_async(calls: Calls) -> Any:
    """Perform the calls in an async workflow."""
    try:
        call = next(calls)
        while True:
            try:
                if isinstance(call, Parallel):
                    value = await asyncio.gather(*map(drive_async, call.branches))
                else:
                    value = await call()
            except Exception as exc:
                call = calls.throw(exc)
            else:
                call = calls.send(value)
    except StopIteration as done:
        return done.value


ow = OpenWorkflow()
WORKFLOWS: dict[str, Any] = {}


def define(definition: dict[str, Any], mode: str) -> None:
    options = {
        "version": definition.get("version"),
        "retry": policy(definition.get("retryPolicy"), 1),
    }
    input_type: Any = ObjectWithOk if "schema" in definition else Any

    def blocking(step: Step, input: Any) -> Any:
        return drive(Interpreter(step, definition, copy.deepcopy(input)).body(), step)

    async def awaiting(step: AsyncStep, input: Any) -> Any:
        return await drive_async(Interpreter(step, definition, copy.deepcopy(input)).body())

    fn: Any = blocking if mode == "sync" else awaiting
    fn.__annotations__["input"] = input_type
    WORKFLOWS[definition["name"]] = ow.workflow(definition["name"], **options)(fn)


def load() -> None:
    history = json.loads(Path(os.environ[HISTORY]).read_text())
    for definition in history["workflows"]:
        if not definition.get("unregistered"):
            define(definition, os.environ[MODE])


if HISTORY in os.environ:
    load()
