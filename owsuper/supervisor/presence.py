"""Presence: shows that this supervisor is there, and finds others that are missing.

Runs that a supervisor had claimed and not handed out must not wait for their leases when it dies.
So each supervisor holds an advisory lock that goes with its session (see ``db.presence``), and
looks once a second for others whose lock is free. Such a supervisor is dead, or it is cut off from
the database while its children execute their runs. So a run is released early only if both hold:

- No child has begun a step of it, as far as the database knows. A supervisor that loses its
  connection hands out none of its runs any more (``Dispatch``).
- The lock has been free for long enough that a living supervisor would be back. If the supervisor
  was a process of this host that is gone, the lock has been free for long enough that its template
  holds its lock, if that lives (``child/orphaned_claims``).

Behind a connection pooler there is no such lock, and runs wait for their leases.

The look also finds the supervisors with which this one takes turns (``turns``), and shows whether
it must be on call (``on_call``).

Every few seconds a supervisor also announces what it does, for people and for turns. The
announcement rides on the look for others. Behind a pooler it is sent alone, and its age shows
whether it holds.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import uuid4

from owsuper.db import presence
from owsuper.db.presence import ANNOUNCE_PERIOD, OtherSupervisor, PresenceQueries
from owsuper.db.statement import Result
from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor import announcement
from owsuper.supervisor.connection import LONGEST_PAUSE, KeptConnection
from owsuper.supervisor.on_call import OnCall
from owsuper.supervisor.peers import Peer
from owsuper.supervisor.turns import Turns

# Seconds.
_PERIOD: Final = 1.0
_RAREST: Final = 4  # the most periods between two looks
_ABSENCE: Final = LONGEST_PAUSE + 1.0  # every living supervisor tries to connect within the pause
_ABSENCE_IF_DEAD: Final = 2.0  # its template needs less than that to connect
_NEWS: Final = 2.9  # between two announcements; some looks, and not a look more
_SILENCE: Final = ANNOUNCE_PERIOD - 0.1  # likewise, if there is no news

Workflows: TypeAlias = Sequence[tuple[str, str | None]]

_log = logging.getLogger("owsuper.supervisor")


def new_supervisor_id() -> str:
    """Return an id for this supervisor: host name, pid, and a part that makes it unique."""
    # Host name and pid show where a run is. They repeat in containers.
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{uuid4().hex[:8]}"


class Presence:
    """The presence of one supervisor, over a shared connection.

    ``describe`` returns what the supervisor does, as ``announcement.describe`` does.
    """

    def __init__(
        self,
        loop: Loop,
        connection: KeptConnection,
        settings: Settings,
        supervisor_id: str,
        *,
        workflows: Callable[[], Workflows],
        describe: Callable[[], dict[str, Any]],
        turns: Turns,
        on_call: OnCall,
    ) -> None:
        self._connection = connection
        self._queries = PresenceQueries(settings.schema, settings.namespace, supervisor_id)
        self._lease = settings.lease
        self._host = _host()
        self._workflows = workflows
        self._describe = describe
        self._turns = turns
        self._on_call = on_call
        self._passed = 0  # timer ticks without a look
        self._announced: tuple[Workflows, dict[str, Any]] | None = None  # None: announce soon
        self._announced_at = 0.0  # time.monotonic()
        self._room: tuple[int, int] | None = None  # free slots and slots, as announced
        self._registered = False
        self._looking = False
        self.left = False  # ``leave`` was called
        self._missing_since: dict[str, float] = {}  # time.monotonic() by supervisor id
        loop.timers.add("look for missing workers", self.look, period=_PERIOD).start()

    def on_connection_up(self) -> None:
        """Show that this supervisor is there."""
        if not self._connection.pooled:
            self._register()

    def on_connection_lost(self) -> None:
        """Forget what was seen: a server that was away has ended all sessions."""
        self._registered = self._looking = False
        self._announced = self._room = None
        self._missing_since.clear()
        self._on_call.doubt()

    def look(self) -> None:
        """Look for missing supervisors, and release what they held; announce what there is."""
        if not self._connection.up or self._looking or self.left:
            return
        pooled = self._connection.pooled
        if not pooled and not self._registered:
            self._register()  # before a row is written: without the lock it would say "dead"
        elif self._announce():
            self._passed = 0  # that was a look, too
            return
        if not pooled and self._connection.up and self._is_due():
            self._looking = True
            statement, params = self._queries.others()
            self._connection.send(statement, params, self._handle_others)

    def announce_now(self) -> None:
        """Announce what this supervisor does without waiting for the time to do so."""
        self._announced = None
        self.look()

    def on_hearing(self) -> None:
        """Announce that notifications arrive, if it was announced that they do not."""
        if self._announced is not None and not self._announced[1]["listening"]:
            self.announce_now()

    def _is_due(self) -> bool:
        """Return whether to look now; those that others look as well do so less often."""
        self._passed += 1
        scale = min(self._turns.scale("look for missing workers"), _RAREST)
        if self._passed < scale and not self._missing_since:
            return False
        self._passed = 0
        return True

    def leave(self) -> None:
        """Forget this supervisor, which stops. Without effect if there is no connection."""
        if not self.left:
            self.left = True
            if self._connection.up:
                statement, params = self._queries.leave()
                self._connection.send_reliably(statement, params, self._handle_left)

    def _announce(self) -> bool:
        """Announce what this supervisor does, if it is time; return whether it was."""
        now = time.monotonic()
        age = now - self._announced_at
        if self._announced is not None and age < _NEWS:
            return False
        current = (self._workflows(), self._describe())
        if current == self._announced and age < _SILENCE:
            return False
        self._announced, self._announced_at, self._looking = current, now, True
        workflows, document = current
        self._room = document["free"], document["slots"]
        statement, params = self._queries.announce(
            self._lease,
            self._host,
            os.getpid(),
            pooled=self._connection.pooled,
            workflows=workflows,
            status=announcement.complete(document),
        )
        self._connection.send(statement, params, self._handle_others)
        return True

    def _register(self) -> None:
        statement, params = self._queries.register(self._lease, self._host, os.getpid())
        self._connection.send(statement, params, self._handle_registered)

    def _handle_registered(self, result: Result) -> None:
        self._registered = not self._connection.refused("note that this worker is there", result)
        if self._registered and not self._looking and self._connection.up:
            self._announce()

    def _handle_left(self, result: Result) -> None:
        self._connection.refused("forget a worker that stops", result)

    def _handle_others(self, result: Result) -> None:
        self._looking = False
        if self._connection.refused("look for missing workers", result):
            self._on_call.doubt()
            return
        now = time.monotonic()
        others = presence.parse_others(result.rows)
        self._meet(others)
        missing = [each for each in others if each.missing]
        self._missing_since = {
            each.supervisor_id: self._missing_since.get(each.supervisor_id, now) for each in missing
        }
        for each in missing:
            absence = _ABSENCE_IF_DEAD if self._is_dead(each) else _ABSENCE
            if now - self._missing_since[each.supervisor_id] >= absence and self._connection.up:
                statement, params = self._queries.release_missing(each.supervisor_id)
                on_result = partial(self._handle_released, each.supervisor_id)
                self._connection.send(statement, params, on_result)

    def _meet(self, others: Sequence[OtherSupervisor]) -> None:
        """Decide whether to be on call, and with whom to take turns."""
        peers = [
            Peer(each.supervisor_id, each.answers, each.on_call, each.free, each.slots)
            for each in others
            if each.answers and not each.missing
        ]
        serving = self._workflows()
        if self._connection.pooled or self._room is None:
            self._on_call.doubt()  # looks are rare, or the others do not know this supervisor
        else:
            free, slots = self._room
            theirs = sum(each.slots - each.free for each in others if not each.missing)
            busy = theirs + slots - free
            now = time.monotonic()
            self._on_call.look(now, peers, serving=serving, free=free, slots=slots, busy=busy)
        self._turns.meet(peers, serving=serving, on_call=self._on_call.on_call)

    def _handle_released(self, supervisor_id: str, result: Result) -> None:
        if self._connection.refused("release runs of a missing worker", result) or not result.rows:
            return
        _log.warning(
            "released runs that the worker %s had claimed before it disappeared: %d",
            supervisor_id,
            len(result.rows),
        )

    def _is_dead(self, missing: OtherSupervisor) -> bool:
        """Return whether the supervisor was a process of this host that is gone."""
        if missing.host != self._host:
            return False
        try:
            os.kill(missing.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


def _host() -> str:
    """Return a text that is the same for all processes that see the same process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux, or no /proc: no two hosts may seem to be one
        return f"{socket.gethostname()} {uuid4()}"
