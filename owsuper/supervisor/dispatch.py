"""The running supervisor: wires claims, sweeps, leases and children together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import OperationalError

from owsuper.db.claims import Claimed, ClaimQueries
from owsuper.db.connect import conninfo, explain_failure
from owsuper.db.crashes import CrashQueries
from owsuper.db.limits import LimitQueries
from owsuper.db.sweeps import SweepQueries
from owsuper.event_loop import Loop
from owsuper.ipc.messages import Finished, Overdue
from owsuper.settings import Settings
from owsuper.supervisor import announcement
from owsuper.supervisor.burst import Burst
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.claims import Claims
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.crashes import Crashes
from owsuper.supervisor.duties import Duties
from owsuper.supervisor.exit_status import Evidence, ExitCode
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.hang_watch import HangWatch
from owsuper.supervisor.hard_stops import HardStops
from owsuper.supervisor.lease_renewal import LeaseRenewal
from owsuper.supervisor.limits import LimitRegistration
from owsuper.supervisor.listener import Listener
from owsuper.supervisor.memory_limit import MemoryLimit
from owsuper.supervisor.on_call import OnCall
from owsuper.supervisor.pauses import Pauses
from owsuper.supervisor.pickup import Pickup
from owsuper.supervisor.portions import Portions
from owsuper.supervisor.presence import Presence, Workflows
from owsuper.supervisor.schedules import ScheduleDuty
from owsuper.supervisor.shutdown import Shutdown
from owsuper.supervisor.stacks import ChildStacks
from owsuper.supervisor.sweeps import Sweeps
from owsuper.supervisor.template import StartsChildren
from owsuper.supervisor.turns import Turns
from owsuper.supervisor.undone_workflows import UndoneWorkflows

if TYPE_CHECKING:
    from owsuper.supervisor.metering import Measured, Meter
    from owsuper.supervisor.retention import RetentionDuty

_LAST_WRITES_TIMEOUT: Final = 2.0  # seconds

_log = logging.getLogger("owsuper.supervisor")


class Dispatch:
    """Brings runs from the database to the children, and back when a child dies.

    ``settings`` must be complete: ``database_url`` is set. ``environment`` is added to the
    children's environment. ``meter`` counts, if metrics are wanted. The loop raises
    DatabaseUnreachable if the first connection fails. After that, the supervisor reconnects after
    outages.

    ``exit_code`` is the supervisor's; ``fatal_error`` is a message for the operator, or None.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        template: StartsChildren,
        *,
        environment: Mapping[str, str],
        meter: Meter | None = None,
    ) -> None:
        assert settings.database_url is not None
        self.fatal_error: str | None = None
        self.exit_code = ExitCode.CLEAN
        self._url = settings.database_url
        self._supervisor_id = template.supervisor_id
        self._settings = settings
        self._meter = meter
        self.fleet = Fleet(
            loop,
            settings,
            template,
            self,
            environment=environment,
            on_counted=None if meter is None else meter.add,
        )
        self._stacks = ChildStacks(loop, self.fleet, lambda: self._presence.announce_now())
        if settings.hang_timeout is not None:
            self._hang_watch = HangWatch(loop, self.fleet, settings.hang_timeout)
        self._shutdown = Shutdown(loop, self.fleet, settings.graceful_timeout)
        self._turns = Turns(template.supervisor_id)
        self._on_call = OnCall(template.supervisor_id)
        self._ever_connected = False
        self._writes_abandoned = False
        self._connection = KeptConnection(
            loop,
            conninfo(self._url, application_name="owsuper supervisor"),
            name="claiming",
            on_up=self._on_database_up,
            on_down=self._on_database_down,
        )
        queries = ClaimQueries(settings.schema, settings.namespace)
        self._portions = Portions(
            lambda: {} if (loaded := self.fleet.template.loaded) is None else loaded.concurrency,
            lambda: (held.run.workflow_name for held in self._leases.held()),
            paused=lambda: self._pauses.names | self._limits.unstored,
        )
        self._claims = Claims(
            self._connection,
            queries,
            settings,
            self,
            supervisor_id=template.supervisor_id,
            portions=self._portions,
        )
        self._undone = UndoneWorkflows(self._connection, queries)
        self._limits = LimitRegistration(
            self._connection,
            LimitQueries(settings.schema, settings.namespace),
            served=lambda: self.workflows,
            loaded=lambda: self.fleet.template.loaded,
        )
        self._claims.limited.before_look = self._limits.send
        self._claims.limited.on_found = self._limits.on_found
        self._hard_stops = HardStops(loop, self.fleet, self._claims, settings.kill_grace)
        limit = settings.max_memory_per_child
        self._memory = MemoryLimit(loop, self.fleet, self._hard_stops, limit)
        self._pickup = Pickup(
            loop,
            self.fleet,
            self._claims,
            self._turns,
            settings,
            on_call=self._on_call,
            mark=self._memory.mark,
        )
        self._presence = Presence(
            loop,
            self._connection,
            settings,
            template.supervisor_id,
            workflows=lambda: self.workflows,
            describe=self._describe,
            turns=self._turns,
            on_call=self._on_call,
        )
        sweeps = SweepQueries(settings.schema, settings.namespace)
        self._sweeps = Sweeps(self._connection, sweeps, on_released=self._pickup.claim_soon)
        self._schedules = ScheduleDuty(
            loop,
            self._connection,
            settings,
            loaded=lambda: self.fleet.template.loaded,
            on_started=self._pickup.claim_soon,
        )
        self._pauses = Pauses(loop, self._connection, sweeps, on_resumed=self._pickup.claim_soon)
        crashes = CrashQueries(settings.schema, settings.namespace)
        self._crashes = Crashes(
            self._connection,
            crashes,
            max_crashes=settings.max_crashes,
            on_failed=None if meter is None else meter.on_crashed_too_often,
        )
        self._leases = LeaseRenewal(
            loop, self._claims, self.fleet, self._pickup.prefetched, settings.lease
        )
        self._listener: Listener | None = None
        if settings.listen:
            self._listener = Listener(
                loop,
                settings,
                on_runs_due=self._pickup.claim_in_turn,
                on_canceled=self._leases.check,
                on_undone=self._undone.look,
                on_stacks_asked=self._stacks.ask,
                on_drain_asked=self._drain_if_asked,
                on_schedules_changed=self._schedules.look_at_changed,
                on_limits_changed=self._pickup.limits_changed,
                on_paused=self._pauses.read,
                on_hearing=self._presence.on_hearing,
                on_call=self._on_call,
                sender=self._connection,
                queries=queries,
            )
            self._pickup.notify = self._listener.pass_on
        self._burst: Burst | None = None
        if settings.burst:
            self._burst = Burst(self._claims, self._sweeps, self._undone, self._pickup.claim_soon)
        self._retention: RetentionDuty | None = None
        if settings.retain:
            from owsuper.supervisor.retention import RetentionDuty  # few workers need it

            self._retention = RetentionDuty(loop, settings, self._connection)
        self._duties = Duties(
            loop,
            settings,
            self._turns,
            self._sweeps,
            self._crashes,
            self._pickup,
            self._pauses,
            self._undone,
            self._limits,
            release_period=self._leases.period,
            workflows=lambda: self.workflows,
            hearing=lambda: self._hearing,
            has_room=lambda: self._has_room,
        )
        self._last_writes_timer = loop.timers.add("abandon last writes", self._abandon_writes)

    def start(self) -> None:
        """Connect to the database and start the children."""
        self._connection.start()
        if self._listener is not None:
            self._listener.start()
        self._duties.start()
        self.fleet.fill()

    def close(self) -> None:
        """Close the connections and the children's pipes."""
        if self._retention is not None:
            self._retention.close()
        self._connection.close()
        if self._listener is not None:
            self._listener.close()
        self.fleet.close()

    # --- state ---------------------------------------------------------------------------

    @property
    def workflows(self) -> Workflows:
        """The registered workflows, by name and version, and those that undo their runs."""
        loaded = self.fleet.template.loaded
        return () if loaded is None else self._undone.add_to(loaded.workflows)

    @property
    def ready(self) -> bool:
        """Whether all children take runs, the database is connected, and listening was tried."""
        listened = self._listener is None or self._listener.attempted
        return self.fleet.ready >= self.fleet.size and self._connection.up and listened

    @property
    def takes_runs(self) -> bool:
        """Whether at least one child takes runs and the database is connected; not in a drain."""
        return self.fleet.ready > 0 and self._connection.up and not self._shutdown.begun

    @property
    def stopping(self) -> bool:
        """Whether a shutdown has begun, by request, or because of ``--burst`` or a fatal error."""
        return self._shutdown.begun

    @property
    def finished(self) -> bool:
        """Whether a shutdown is complete: no child is left, all is written or abandoned."""
        stopped = self._shutdown.begun and not len(self.fleet) and self._presence.left
        return stopped and self._writes_done

    @property
    def _writes_done(self) -> bool:
        return self._writes_abandoned or not (self._claims.claiming or self._connection.unanswered)

    @property
    def _hearing(self) -> bool:
        """Whether notifications arrive."""
        return self._listener is not None and self._listener.hearing

    @property
    def _slots(self) -> int:
        """The slots when all children are ready."""
        return self.fleet.size * self._settings.concurrency

    @property
    def connection(self) -> KeptConnection:
        """The connection that claims."""
        return self._connection

    def measure(self) -> Sequence[Measured]:
        """Return what there is now, and what is counted in every worker, for a page of metrics."""
        from owsuper.supervisor import metering  # few workers need it

        return metering.measure(
            self.fleet,
            self._pickup,
            self._sweeps,
            self._listener,
            self._connection,
            slots=self._slots,
            crashes=self._crashes.by_cause,
            ticks=self._schedules.ticks,
            pruned={} if self._retention is None else self._retention.deleted,
        )

    def _describe(self) -> dict[str, Any]:
        state = "draining" if self._shutdown.begun else "serving" if self.ready else "starting"
        return announcement.describe(
            self.fleet,
            self._pickup.prefetched,
            state=state,
            slots=self._slots,
            listening=self._hearing,
            on_call=self._on_call.stays,
            full=self._portions.full(),
            stacks=self._stacks.answer,
            retain=self._settings.retain,
        )

    def __str__(self) -> str:
        connected = "" if self._connection.up else "no database "
        state = "draining " if self._shutdown.begun else connected
        failing = f", {failures}" if (failures := str(self.fleet.boot_failures)) else ""
        return f"{state}{self.fleet.busy}/{self._slots} busy{failing}"

    # --- shutdown ------------------------------------------------------------------------

    def drain(self) -> None:
        """Stop claiming, release prefetched runs, and let the children finish their runs."""
        if not self._shutdown.begun:
            self._shutdown.begin()
            self._pickup.stop()
            self._schedules.stop()
            self._presence.announce_now()  # so that others go on call for it

    def _drain_if_asked(self, supervisor_id: str) -> None:
        if supervisor_id == self._supervisor_id and not self._shutdown.begun:
            _log.info("a client has asked this worker to drain")
            self.drain()

    def stop_now(self) -> None:
        """Stop without waiting for runs to finish."""
        self.drain()
        self._shutdown.stop_now()

    def resize(self, processes: int) -> None:
        """Have so many processes, at least one, unless a shutdown has begun."""
        if not self._shutdown.begun:
            self.fleet.resize(processes)
            self._pickup.resize(processes * self._settings.concurrency)

    def _abandon_writes(self) -> None:
        _log.error(
            "the database is unreachable: runs that could not be released stay leased until their"
            " leases expire"
        )
        self._writes_abandoned = True

    # --- runs ----------------------------------------------------------------------------

    def assign_and_claim(self) -> None:
        """Assign prefetched runs to free slots, and claim more runs as the policy decides.

        Call this after every turn of the loop.
        """
        if self._shutdown.begun:
            if not len(self.fleet):
                self._presence.leave()
            if not len(self.fleet) and not self._writes_done:
                self._last_writes_timer.at_latest(time.monotonic() + _LAST_WRITES_TIMEOUT)
            return
        self._schedules.follow()
        self._pickup.assign()
        if self._nothing_left:
            _log.info("no run is due: stopping, because of --burst")
            self.drain()
        elif self._pauses.known or not self._connection.up:
            self._pickup.claim(self.workflows)

    @property
    def _nothing_left(self) -> bool:
        if self._burst is None:
            return False
        idle = self.ready and not self.fleet.busy and not len(self._pickup.prefetched)
        idle = idle and not self._schedules.busy
        return self._burst.is_over(idle=idle, workflows=self.workflows)

    @property
    def _has_room(self) -> bool:
        """Whether there is a free slot for a run that is not claimed yet."""
        return self.fleet.free > len(self._pickup.prefetched) and not self._shutdown.begun

    # --- the database --------------------------------------------------------------------

    def _on_database_up(self) -> None:
        self._ever_connected = True
        self._pauses.read()
        self._presence.on_connection_up()
        # Before the first claim, because that may claim runs whose leases expired in the outage.
        self._leases.on_connection_up()
        self._schedules.on_connection_up()
        self._undone.look()
        self._pickup.claim_soon()
        if self._listener is not None:
            self._listener.test()

    def _on_database_down(self, exc: OperationalError) -> None:
        self._claims.on_connection_lost()
        self._sweeps.on_connection_lost()
        self._schedules.on_connection_lost()
        self._undone.on_connection_lost()
        self._pauses.on_connection_lost()
        self._presence.on_connection_lost()
        # Another supervisor may release them, so none may be handed out from here.
        self._pickup.release_prefetched()
        if not self._ever_connected:
            raise explain_failure(exc, self._url)

    def on_claimed(self, claimed: Claimed, *, limit: int) -> None:
        """Prefetch the runs of a claim; once a shutdown has begun, release them."""
        if self._burst is not None:
            self._burst.on_claimed(len(claimed.runs), claimed.next_due)
        if self._meter is not None:
            self._meter.on_claimed(claimed, self._claims.limited.names)
        self._pickup.on_claimed(claimed, limit=limit)

    def on_claim_failed(self) -> None:
        """Report the failure to the policy, which decides on the next claim."""
        if self._meter is not None:
            self._meter.on_claim_failed()
        self._pickup.on_claim_failed()

    def on_leases_lost(self, worker_ids: frozenset[str]) -> None:
        """Drop prefetched runs whose leases are lost; children find theirs by heartbeats."""
        dropped = self._pickup.prefetched.discard(worker_ids)
        if self._meter is not None:
            self._meter.on_leases_lost(dropped)
        self._hard_stops.on_leases_lost(worker_ids)

    # --- the fleet -----------------------------------------------------------------------

    def on_run_finished(self, child: Child, held: HeldRun, finished: Finished) -> None:
        """Report the run's duration and next due time to the policy."""
        seconds = time.monotonic() - held.placed_at
        self._pickup.on_run_finished(seconds, finished)
        if self._portions.awaits(held.run.workflow_name):
            self._pickup.claim_for_room()
        self._hard_stops.on_run_finished(child)
        self._memory.on_run_finished(child, finished)
        if self._meter is not None:
            self._meter.on_run_finished(held, finished, seconds)
        if _log.isEnabledFor(logging.DEBUG):
            fields = {"outcome": finished.outcome, "seconds": round(seconds, 4)}
            _log.debug("run finished in the child", extra=child.log_fields(held) | fields)

    def log_stacks(self) -> None:
        """Log the Python stacks of all children, which go on with their work."""
        self._stacks.log()

    def on_stacks(self, child: Child, text: str) -> None:
        """Log the answer of a child, or announce it."""
        self._stacks.on_stacks(child, text)

    def on_code_overdue(self, child: Child, overdue: Overdue) -> None:
        """Have the child killed, whose code does not stop."""
        self._hard_stops.on_overdue(child, overdue)

    def on_child_died(self, child: Child, evidence: Evidence) -> None:
        """Release the child's runs; count a crash unless the child was asked to stop."""
        stopped = child.stop_requested or child.stop_signaled
        if child.stop_at is not None and evidence.signal_name:
            stopped = False  # it was asked to finish its runs, and has not
        charged = child.killed_by_supervisor and (
            self._memory.charges(child) or self._hard_stops.charges(child)
        )
        crashed = charged or not (
            child.killed_by_supervisor or (stopped and evidence.exit_code in (0, None))
        )
        if self._meter is not None:
            self._meter.on_runs_lost(child, "crashed" if crashed else "released")
        if crashed:
            self._crashes.record(child, evidence)
        else:
            level = logging.INFO if child.stop_signaled else logging.DEBUG  # INFO if unrequested
            _log.log(level, "child stopped: %s", evidence, extra=child.log_fields())
            self._crashes.keep_post_mortems(child, evidence)
            self._hard_stops.release(child)
        if child.held:
            self._pickup.claim_soon()

    def on_boot_failed(self, child: Child, evidence: Evidence, failures: int) -> None:
        """Stop the supervisor: children keep dying before they are ready."""
        if (failure := child.load_failure) is not None:
            self.exit_code = ExitCode.IMPORT_ERROR
            self.fatal_error = failure.message  # its traceback is in the log
        else:
            self.exit_code = ExitCode.CHILDREN_FAILED
            self.fatal_error = (
                f"{failures} child processes died before they could take a run;"
                f" the last one: {evidence}."
            )
        self.stop_now()
