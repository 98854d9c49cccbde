"""Runs on their way: from the database into the hand, to a child, and back when a child dies."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from psycopg.errors import OperationalError

from owsuper.db.claims import Claimed, ClaimQueries
from owsuper.db.connect import conninfo, explain_failure
from owsuper.db.listen import runs_channel
from owsuper.event_loop import Loop
from owsuper.ipc.messages import Finished
from owsuper.settings import Settings
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.claim_policy import ClaimNow, ClaimPolicy, SleepFor
from owsuper.supervisor.claims import Claims
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.crashes import Crashes
from owsuper.supervisor.exit_status import Evidence, ExitCode
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.listener import Listener
from owsuper.supervisor.prefetch import PrefetchedRuns
from owsuper.supervisor.shutdown import Shutdown
from owsuper.supervisor.sweeps import Sweeps
from owsuper.supervisor.template import TemplateProcess

_HAND_PERIOD: Final = 0.25
_HAND_LIMIT: Final = 0.5  # seconds that a run may wait here while another worker has room
_SWEEP_PERIOD: Final = 1.0
_FORGET_PERIOD: Final = 3600.0
_LOST_AFTER: Final = 0.5  # seconds after a reconnect; what had to be written then is on its way
_LAST_WRITES: Final = 2.0  # seconds for what must be written before we go

_log = logging.getLogger("owsuper.supervisor")


class Dispatch:
    """From the moment the application is loaded and the database prepared until the end.

    ``settings`` are final; ``environment`` is added to the children's own. Raises
    DatabaseUnreachable, from the loop, if the first connection fails; later outages are
    waited out.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        template: TemplateProcess,
        *,
        environment: Mapping[str, str],
    ) -> None:
        assert settings.database_url is not None
        self.hopeless: str | None = None
        self.exit_code = ExitCode.CLEAN
        self._url = settings.database_url
        self._settings = settings
        self._template = template
        self._prefetched = PrefetchedRuns()
        self.fleet = Fleet(loop, settings, template, self, environment=environment)
        self._shutdown = Shutdown(loop, self.fleet, settings.graceful_timeout)
        self._claim_policy = ClaimPolicy(
            slots=settings.processes * settings.concurrency, poll_interval=settings.poll_interval
        )
        self._was_up = False
        self._abandoned = False
        self._connection = KeptConnection(
            loop,
            conninfo(self._url, application_name="owsuper supervisor"),
            name="claiming",
            on_up=self._database_up,
            on_down=self._database_down,
        )
        queries = ClaimQueries(settings.schema, settings.namespace)
        self._claims = Claims(self._connection, queries, settings, self)
        self._sweeps = Sweeps(self._connection, queries, on_released=self._rang)
        self._crashes = Crashes(self._connection, queries, max_crashes=settings.max_crashes)
        self._listener: Listener | None = None
        if settings.listen:
            self._listener = Listener(
                loop,
                conninfo(settings.listen_url or self._url, application_name="owsuper listener"),
                runs_channel(settings.schema, settings.namespace),
                on_ring=self._rang,
                on_canceled=self._canceled,
                sender=self._connection,
                queries=queries,
            )
        self._lost = loop.timers.add("release lost claims", self._release_lost)
        self._look = loop.timers.add("look for due runs", lambda: None)  # waking up is enough
        self._give_up = loop.timers.add("give up last writes", self._abandon)
        often = min(1.0, settings.lease / 10)
        loop.timers.add("renew leases", self._renew_late, period=often).start()
        loop.timers.add("empty the hand", self._give_back, period=_HAND_PERIOD).start()
        loop.timers.add("deadlines", self._sweeps.expire_deadlines, period=_SWEEP_PERIOD).start()
        loop.timers.add("release lapsed claims", self._release_lapsed, period=often).start()
        loop.timers.add("forget", self._sweeps.forget_ended, period=_FORGET_PERIOD).start()

    def start(self) -> None:
        self._connection.start()
        if self._listener is not None:
            self._listener.start()
        self.fleet.fill()

    def close(self) -> None:
        self._connection.close()
        if self._listener is not None:
            self._listener.close()
        self.fleet.close()

    # --- how it is -----------------------------------------------------------------------

    @property
    def workflows(self) -> int:
        """How many are registered."""
        return 0 if self._template.loaded is None else len(self._template.loaded.workflows)

    @property
    def ready(self) -> bool:
        """All children take runs, and the database has been reached."""
        heard = self._listener is None or self._listener.tried
        return self.fleet.ready == self._settings.processes and self._connection.up and heard

    @property
    def over(self) -> bool:
        """Everybody has left and everything is written."""
        return self._shutdown.begun and not len(self.fleet) and self._settled

    @property
    def _settled(self) -> bool:
        """Nothing is being claimed, and what must be written is written, or given up."""
        return self._abandoned or (not self._claims.claiming and self._connection.settled)

    def __str__(self) -> str:
        slots = self._settings.processes * self._settings.concurrency
        doing = (
            "draining " if self._shutdown.begun else "" if self._connection.up else "no database "
        )
        return f"{doing}{self.fleet.busy}/{slots} busy"

    # --- the end -------------------------------------------------------------------------

    def end(self) -> None:
        """Drain. Nothing more is claimed, and what has not begun is given back."""
        if not self._shutdown.begun:
            self._shutdown.begin()
            self._look.cancel()
            self._claims.release(self._prefetched.empty())

    def hurry(self) -> None:
        """Stop now."""
        self.end()
        self._shutdown.hurry()

    def _abandon(self) -> None:
        _log.error("the database is away: what is still leased is due again when its lease ends")
        self._abandoned = True

    # --- the work ------------------------------------------------------------------------

    def work(self) -> None:
        """After every turn of the loop: hand out what there is, look for more if need be."""
        if self._shutdown.begun:
            if not len(self.fleet) and not self._settled:
                self._give_up.at_latest(time.monotonic() + _LAST_WRITES)
            return
        if len(self._prefetched):
            self._prefetched.deal(self.fleet)
        if not self._connection.up:
            self._look.cancel()
            return
        now = time.monotonic()
        match self._claim_policy.decide(
            now, free=self.fleet.free, prefetched=len(self._prefetched)
        ):
            case ClaimNow(count):
                assert self._template.loaded is not None
                self._claims.claim(count, self._template.loaded.workflows)
                self._look.cancel()
            case SleepFor(seconds):
                self._look.after(seconds)

    def _rang(self) -> None:
        self._claim_policy.rang(time.monotonic())

    def _canceled(self, run_id: str) -> None:
        """Whoever holds the run asks for its lease, which is gone if nobody was mistaken."""
        for child in self.fleet:
            if any(held.run.run_id == run_id for held in child.held.values()):
                child.renew()
        prefetched = [held for held in self._prefetched if held.run.run_id == run_id]
        self._claims.renew(prefetched, time.monotonic())

    def _renew_late(self) -> None:
        """Runs in hand have nobody else; a child is late if a step keeps it from beating."""
        self._renew(time.monotonic() - self._settings.lease / 2)

    def _renew(self, before: float) -> None:
        """Renew the leases that were last renewed ``before`` then."""
        held = self._all_held()
        self._claims.renew([each for each in held if each.renewed_at < before], time.monotonic())

    def _release_lost(self) -> None:
        """A claim whose answer was lost with the connection left runs that nobody knows of."""
        if self._template.loaded is None or not self._connection.up:
            return  # another reconnect comes here again
        if self._claims.claiming:
            self._lost.after(_LOST_AFTER / 10)
        else:
            self._claims.release_lost(self._all_held())

    def _all_held(self) -> list[HeldRun]:
        return [*self._prefetched, *(held for child in self.fleet for held in child.held.values())]

    def _give_back(self) -> None:
        if overdue := self._prefetched.waiting_longer_than(_HAND_LIMIT):
            self._claim_policy.stuck()
            self._claims.release(overdue)

    def _release_lapsed(self) -> None:
        """Of workers that vanished. A run that we have no room for is left to whoever has, and
        for a while yet to its owner, who may only have been cut off.
        """
        roomy = self.fleet.free > len(self._prefetched) and not self._shutdown.begun
        if self._template.loaded is not None and roomy:
            self._sweeps.release_lapsed(self._template.loaded.workflows)
            self._sweeps.release_bounced(self._template.loaded.workflows)

    # --- the database --------------------------------------------------------------------

    def _database_up(self) -> None:
        self._was_up = True
        # Leases may have run out meanwhile. Renewed before anything is claimed, by us at least,
        # they were never lost.
        self._renew(time.monotonic())
        self._rang()  # whatever became due meanwhile
        self._lost.after(_LOST_AFTER)
        if self._listener is not None:
            self._listener.test()

    def _database_down(self, exc: OperationalError) -> None:
        self._claims.connection_lost()
        self._sweeps.connection_lost()
        if not self._was_up:
            raise explain_failure(exc, self._url)

    def claimed(self, claimed: Claimed, *, limit: int) -> None:
        now = time.monotonic()
        count = len(claimed.runs)
        self._claim_policy.claimed(now, count, asked=limit, next_due=claimed.next_due)
        held = [HeldRun(run, renewed_at=now, since=now) for run in claimed.runs]
        if self._shutdown.begun:
            self._claims.release(held)
        else:
            self._prefetched.take(held)

    def claim_failed(self) -> None:
        self._claim_policy.failed(time.monotonic())

    def leases_lost(self, worker_ids: frozenset[str]) -> None:
        """Others own these runs by now. A child finds out by itself."""
        self._prefetched.drop(worker_ids)

    # --- what the fleet says -------------------------------------------------------------

    def run_finished(self, child: Child, held: HeldRun, finished: Finished) -> None:
        now = time.monotonic()
        self._claim_policy.finished(now - held.since)
        if finished.due_in is not None:
            self._claim_policy.due(now, finished.due_in)
        if _log.isEnabledFor(logging.DEBUG):
            fields = {"outcome": finished.outcome, "seconds": round(now - held.since, 4)}
            _log.debug("run left the child", extra=child.log_fields(held) | fields)

    def child_died(self, child: Child, evidence: Evidence) -> None:
        """Whoever held runs when it ended without being told to is charged for them."""
        asked = child.told_to_end or child.leaving
        if child.killed_by_us or (asked and evidence.exit_code in (0, None)):
            # Somebody else stopped the child: the operator, perhaps.
            level = logging.INFO if child.leaving else logging.DEBUG
            _log.log(level, "child left: %s", evidence, extra=child.log_fields())
            self._claims.release(list(child.held.values()))
            return
        self._crashes.record(child, evidence)
        if child.held:
            self._rang()

    def fleet_hopeless(self, child: Child, evidence: Evidence, failures: int) -> None:
        if (failure := child.load_failure) is not None:
            self.exit_code = ExitCode.IMPORT_ERROR
            self.hopeless = f"{failure.traceback or ''}{failure.message}"
        else:
            self.exit_code = ExitCode.ERROR
            self.hopeless = (
                f"{failures} child processes died before they could take a run;"
                f" the last one: {evidence}."
            )
        self.hurry()
