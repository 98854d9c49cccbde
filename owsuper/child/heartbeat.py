"""The heartbeat: a thread renews the leases of the runs in this child, and detects lost ones."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from owsuper.child.database import ChildDatabase, Unavailable
from owsuper.child.threads import start_thread
from owsuper.core.model import ClaimedRun
from owsuper.db.runs import RunStore

_log = logging.getLogger("owsuper.child")

_RENEWALS_PER_LEASE: Final = 3  # two may fail before the lease ends
_RETRY_PAUSE: Final = 1.0  # seconds between heartbeats while the database is unreachable
_CONFIRM_PAUSE: Final = 0.2  # seconds between attempts; the run is blocked meanwhile


class HoldsLease(Protocol):
    """The part of an execution that concerns its lease."""

    leased_until: float

    @property
    def run(self) -> ClaimedRun:
        """The run that is leased."""
        ...

    @property
    def decided_outcome(self) -> object | None:
        """How the execution ends; None while that is undecided."""
        ...

    @property
    def final_write_sent(self) -> bool:
        """Whether the write that ends the claim was sent."""
        ...

    def abandon(self) -> None:
        """Stop: the lease is lost."""
        ...


class Leases:
    """Renews leases, for ``seconds`` each time."""

    def __init__(self, database: ChildDatabase, store: RunStore, seconds: float) -> None:
        self.seconds = seconds
        self._database = database
        self._store = store

    def renew(self, held: Collection[HoldsLease]) -> set[str]:
        """Renew the leases of ``held`` and abandon the executions whose leases are lost.

        Returns the worker ids whose leases were renewed. Raises Unavailable in an outage.
        """
        began = time.monotonic()
        claims = [(each.run.run_id, each.run.worker_id) for each in held]
        results = self._database.run_once(
            lambda conn: self._store.extend(conn, claims, self.seconds)
        )
        for each in held:
            renewed = results.get(each.run.worker_id)
            if renewed:
                each.leased_until = began + self.seconds
            elif renewed is None and not each.final_write_sent:
                _log.warning(
                    "run %s was canceled, or another worker claimed it; stopping it",
                    each.run.run_id,
                )
                each.abandon()
        return {worker for worker, renewed in results.items() if renewed}

    def confirm(self, each: HoldsLease) -> None:
        """Renew the lease of one execution if it may have ended unnoticed.

        A lease ends unnoticed while this process is suspended or the database is unreachable.
        Blocks until the answer is known, and abandons the execution if the lease is lost.
        """
        while time.monotonic() >= each.leased_until and each.decided_outcome is None:
            try:
                self.renew([each])
            except Unavailable as exc:
                self._database.log_unreachable(exc)
            if time.monotonic() >= each.leased_until and self._database.closing.wait(
                _CONFIRM_PAUSE
            ):
                return


class Heartbeat:
    """A thread that renews every lease three times per lease period.

    ``on_renewed`` is called in that thread, with the worker ids whose leases were renewed.
    """

    def __init__(
        self,
        executions: Mapping[str, HoldsLease],
        database: ChildDatabase,
        leases: Leases,
        on_renewed: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._executions = executions
        self._database = database
        self._leases = leases
        self._on_renewed = on_renewed
        self._stopped = False
        self._wake = threading.Event()

    def start(self) -> None:
        """Start the thread. Raises NoThread."""
        start_thread(self._run, name="owsuper-heartbeat")

    def stop(self) -> None:
        """Stop the thread. Does not wait for it."""
        self._stopped = True
        self._wake.set()

    def renew_now(self) -> None:
        """Renew all leases now, which detects the lost ones."""
        self._wake.set()

    def _run(self) -> None:
        period = self._leases.seconds / _RENEWALS_PER_LEASE
        pause = period
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._stopped:
                return
            started = time.monotonic()
            try:
                all_renewed = self._renew()
            except Unavailable as exc:
                self._database.log_unreachable(exc)
                all_renewed = False
            except Exception:
                _log.exception("heartbeat failed, will retry")
                all_renewed = False
            if all_renewed:
                pause = max(0.0, period - (time.monotonic() - started))
            else:
                pause = min(_RETRY_PAUSE, period)

    def _renew(self) -> bool:
        """Renew all leases. Returns whether every lease that is still needed was renewed."""
        held = list(self._executions.values())
        if not held:
            return True
        renewed = self._leases.renew(held)
        if renewed:
            self._on_renewed(tuple(renewed))
        return all(
            each.run.worker_id in renewed
            or each.final_write_sent
            or each.decided_outcome is not None
            for each in held
        )
