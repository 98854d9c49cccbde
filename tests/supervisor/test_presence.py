"""When a supervisor announces itself, and what that costs: statements over a connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from owsuper.db.presence import ANNOUNCE_PERIOD
from owsuper.db.statement import Param, Result, Row, Statement
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor import presence
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.on_call import ENOUGH, OnCall
from owsuper.supervisor.presence import Presence
from owsuper.supervisor.turns import Turns


class Connection:
    """Records the names of the statements that are sent, and answers each with ``others``."""

    def __init__(self, *, pooled: bool = False) -> None:
        self.up = True
        self.pooled = pooled
        self.refusing: set[str] = set()
        self.others: list[Row] = []
        self._sent: list[str] = []

    def send(
        self, statement: Statement, _params: Sequence[Param], on_result: Callable[[Result], None]
    ) -> None:
        self._sent.append(statement.name)
        refused = statement.name in self.refusing
        on_result(Result([], sqlstate="55P03") if refused else Result(self.others))

    send_reliably = send

    def refused(self, _action: str, result: Result) -> bool:
        return result.sqlstate is not None

    def sent(self) -> list[str]:
        """The statements since the last call."""
        sent, self._sent = self._sent, []
        return sent


class Worker:
    """A supervisor's presence, looked at once a second of a clock that stands otherwise."""

    def __init__(self, loop: Loop, monkeypatch: pytest.MonkeyPatch, *, pooled: bool) -> None:
        self.connection = Connection(pooled=pooled)
        self.doing: dict[str, Any] = {"children": [], "free": 4, "slots": 4}
        self.workflows: list[tuple[str, str | None]] = [("w", None)]
        self.now = 100.0
        self.turns = Turns("host:1:me")
        self.on_call = OnCall("host:1:me")
        monkeypatch.setattr(presence, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.presence = Presence(
            loop,
            cast("KeptConnection", self.connection),
            Settings(),
            "host:1:me",
            workflows=lambda: tuple(self.workflows),
            describe=lambda: dict(self.doing),
            turns=self.turns,
            on_call=self.on_call,
        )

    def connect(self) -> list[str]:
        self.presence.on_connection_up()
        return self.connection.sent()

    def look(self) -> list[str]:
        """The statements of the next look."""
        self.now += 1
        self.presence.look()
        return self.connection.sent()

    def looks(self, count: int) -> list[str]:
        return [name for _ in range(count) for name in self.look()]


MakeWorker = Callable[..., Worker]


@pytest.fixture
def worker_of(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> MakeWorker:
    return lambda *, pooled=False: Worker(loop, monkeypatch, pooled=pooled)


def test_a_supervisor_announces_itself_as_soon_as_it_has_connected(worker_of: MakeWorker) -> None:
    worker = worker_of()
    assert worker.connect() == ["register_supervisor", "announce"]
    assert worker.look() == ["other_supervisors"]


def test_one_that_is_idle_announces_itself_every_fifteen_seconds_and_sends_nothing_more(
    worker_of: MakeWorker,
) -> None:
    worker = worker_of()
    worker.connect()
    minute = worker.looks(60)
    assert len(minute) == 60  # as without announcements
    assert minute.count("announce") == 60 / ANNOUNCE_PERIOD


def test_one_whose_work_changes_all_the_time_announces_itself_every_three_seconds(
    worker_of: MakeWorker,
) -> None:
    worker = worker_of()
    worker.connect()
    minute = []
    for number in range(60):
        worker.doing["free"] = number
        minute += worker.look()
    assert len(minute) == 60
    assert minute.count("announce") == 20


def test_other_workflows_are_news(worker_of: MakeWorker) -> None:
    worker = worker_of()
    worker.connect()
    worker.look()
    worker.workflows.append(("x", "2"))
    assert worker.looks(3).count("announce") == 1


def test_that_notifications_arrive_is_announced_at_once_if_it_was_not_known(
    worker_of: MakeWorker,
) -> None:
    worker = worker_of()
    worker.presence.on_hearing()  # before the first announcement, which says it
    worker.doing["listening"] = False
    assert worker.connect() == ["register_supervisor", "announce"]
    worker.doing["listening"] = True
    worker.presence.on_hearing()
    assert worker.connection.sent() == ["announce"]
    worker.presence.on_hearing()
    assert worker.connection.sent() == []


def test_no_row_is_written_without_the_lock_which_would_say_that_the_supervisor_is_dead(
    worker_of: MakeWorker,
) -> None:
    worker = worker_of()
    worker.connection.refusing = {"register_supervisor"}
    worker.connect()
    assert worker.looks(2) == ["register_supervisor", "other_supervisors"] * 2
    worker.connection.refusing.clear()
    assert worker.look()[:2] == ["register_supervisor", "announce"]


def test_after_an_outage_it_announces_itself_at_once(worker_of: MakeWorker) -> None:
    worker = worker_of()
    worker.connect()
    worker.looks(2)
    worker.presence.on_connection_lost()
    assert worker.connect() == ["register_supervisor", "announce"]


def test_behind_a_pooler_it_takes_no_lock_and_only_announces_itself(
    worker_of: MakeWorker,
) -> None:
    worker = worker_of(pooled=True)
    assert worker.connect() == []
    assert worker.looks(60) == ["announce"] * 4


def test_one_that_leaves_says_so_once_and_announces_nothing_any_more(
    worker_of: MakeWorker,
) -> None:
    worker = worker_of()
    worker.connect()
    worker.presence.leave()
    worker.presence.leave()
    assert worker.connection.sent() == ["leave"]
    assert worker.looks(30) == []


def test_without_a_connection_it_leaves_without_a_word(worker_of: MakeWorker) -> None:
    worker = worker_of()
    worker.connection.up = False
    worker.presence.leave()
    assert worker.presence.left
    assert worker.connection.sent() == []


def other(
    number: int,
    *,
    missing: bool = False,
    workflows: bytes | None = b'[["w", null]]',
    on_call: bytes | None = b"true",
    free: bytes | None = b"4",
) -> Row:
    seen = (b"there:%d:x" % number, b"there", b"1", b"t" if missing else b"f")
    return (*seen, workflows, on_call, free, b"4")


def test_it_takes_turns_with_the_others_that_answer_notifications(worker_of: MakeWorker) -> None:
    worker = worker_of()
    rings = [str(number) for number in range(200)]
    worker.connection.others = [other(1, missing=True), other(2, workflows=None)]
    worker.connect()
    assert {worker.turns.wait(ring) for ring in rings} == {0.0}
    worker.connection.others = [other(3), other(4, workflows=b'[["w", null], ["x", "2"]]')]
    worker.look()
    assert {worker.turns.wait(ring) for ring in rings} == {0.0, 0.005, 0.02}


@pytest.mark.parametrize("workflows", [b"null", b"1", b'[["w"]]', b'[[["w"], null]]', b'["w"]'])
def test_what_another_version_says_in_another_form_makes_it_no_companion(
    worker_of: MakeWorker, workflows: bytes
) -> None:
    worker = worker_of()
    worker.connection.others = [other(1, workflows=workflows)]
    worker.connect()
    assert not worker.turns.with_others
    worker.connection.others = [other(2, workflows=b'[["w", null, "more"]]')]
    worker.look()
    assert worker.turns.with_others


def test_of_many_supervisors_each_looks_for_the_others_less_often(worker_of: MakeWorker) -> None:
    worker = worker_of()
    worker.connection.others = [other(number) for number in range(99)]
    worker.connect()
    assert len(worker.looks(60)) <= 60 / 4 + 1  # the announcements are among them


def test_while_one_is_missing_it_is_looked_for_every_second(worker_of: MakeWorker) -> None:
    worker = worker_of()
    worker.connection.others = [other(number) for number in range(99)]
    worker.connect()
    worker.connection.others.append(other(100, missing=True))
    worker.looks(4)
    assert worker.looks(3).count("other_supervisors") >= 2


def off_call(worker: Worker) -> list[Row]:
    """Let the worker leave; return the others, before which it is busier."""
    worker.doing["free"] = 1
    worker.connection.others = [other(number) for number in range(ENOUGH)]
    worker.connect()
    worker.looks(30)
    assert not worker.on_call.on_call
    return worker.connection.others


def test_beside_enough_others_it_goes_off_call(worker_of: MakeWorker) -> None:
    off_call(worker_of())


@pytest.mark.parametrize(
    "instead",
    [
        other(0, missing=True),
        other(0, workflows=b'[["x", null]]'),
        other(0, free=b"0", workflows=None),
        other(0, free=b"many"),
    ],
)
def test_one_of_the_others_less_and_it_is_on_call(worker_of: MakeWorker, instead: Row) -> None:
    worker = worker_of()
    worker.connection.others = [instead, *off_call(worker)[1:]]
    worker.looks(4)
    assert worker.on_call.stays


def test_others_that_do_not_say_whether_they_are_on_call_are(worker_of: MakeWorker) -> None:
    worker = worker_of()
    worker.doing["free"] = 1
    worker.connection.others = [other(number, on_call=None) for number in range(ENOUGH)]
    worker.connect()
    worker.looks(30)
    assert not worker.on_call.on_call


def test_while_others_say_that_they_leave_it_stays(worker_of: MakeWorker) -> None:
    worker = worker_of()
    worker.doing["free"] = 1
    worker.connection.others = [other(number, on_call=b"false") for number in range(ENOUGH)]
    worker.connect()
    worker.looks(30)
    assert worker.on_call.stays


def test_when_its_connection_is_lost_or_its_look_is_refused_it_is_on_call(
    worker_of: MakeWorker,
) -> None:
    worker = worker_of()
    off_call(worker)
    worker.presence.on_connection_lost()
    assert worker.on_call.stays
    off_call(worker)
    worker.connection.refusing = {"other_supervisors", "announce"}
    worker.looks(4)
    assert worker.on_call.stays


def test_behind_a_pooler_it_is_always_on_call(worker_of: MakeWorker) -> None:
    worker = worker_of(pooled=True)
    worker.doing["free"] = 1
    worker.connection.others = [other(number) for number in range(ENOUGH)]
    worker.connect()
    worker.looks(120)
    assert worker.on_call.stays
