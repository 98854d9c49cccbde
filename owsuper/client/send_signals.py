"""Sending signals from a program, and in its transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from owsuper.client import joining, new_run, signals, traces

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase


class SendsSignals:
    """The methods of OpenWorkflow that send signals."""

    _database: ClientDatabase

    def send_signal(
        self,
        signal: str,
        data: Any = None,
        *,
        idempotency_key: str | None = None,
        buffer: bool = False,
        connection: object = None,
    ) -> list[str]:
        """Send ``signal`` to all runs that wait for it now; return the ids of these runs.

        Calls with the same ``idempotency_key`` send the signal once and return the ids of the
        first call. If no run waits, a signal with ``buffer`` is kept for the first run that will
        wait for it. Without ``buffer`` the signal is dropped.

        With a ``connection``, the signal is sent in the transaction that is open on it; see
        :meth:`Workflow.run`. Until its end, other senders of the signal and runs that begin to wait
        for it have to wait.

        Raises NotSerializable if ``data`` cannot be stored, ConfigurationError,
        DatabaseUnreachable and MigrationError. Without a key, a connection that breaks meanwhile
        is an error, because the signal may have been sent already and must not be sent twice.
        """
        raw = signals.encode(signal, data)
        key = new_run.check_key(idempotency_key)
        session = self._database.session()
        with traces.send_signal(session, signal) as trace:
            if connection is None:
                reached = signals.send(session, signal, raw, key, keep=buffer)
            else:
                work = joining.send_signal(session, signal, raw, key, keep=buffer)
                reached = joining.perform(session, connection, work)
            trace.reached(reached)
        return reached

    async def asend_signal(
        self,
        signal: str,
        data: Any = None,
        *,
        idempotency_key: str | None = None,
        buffer: bool = False,
        connection: object = None,
    ) -> list[str]:
        """Awaitable :meth:`send_signal`."""
        raw = signals.encode(signal, data)
        key = new_run.check_key(idempotency_key)
        session = await self._database.asession()
        with traces.send_signal(session, signal) as trace:
            if connection is None:
                reached = await signals.asend(session, signal, raw, key, keep=buffer)
            else:
                work = joining.send_signal(session, signal, raw, key, keep=buffer)
                reached = await joining.aperform(session, connection, work)
            trace.reached(reached)
        return reached
