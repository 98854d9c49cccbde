"""The metrics of this worker, served at ``--metrics-port``.

Without that setting nobody imports this module.
"""

from __future__ import annotations

import sys
from typing import Final

from owsuper.event_loop import Loop
from owsuper.metrics import catalogue
from owsuper.metrics.families import Snapshot
from owsuper.metrics.server import MetricsServer, listen
from owsuper.settings import Settings
from owsuper.supervisor.dispatch import Dispatch
from owsuper.supervisor.metering import Meter
from owsuper.supervisor.queue_watch import QueueWatch
from owsuper.version import own_version

# Seconds. The thread makes the text of a page in up to a tenth of a second. The supervisor must not
# wait for the interpreter lock at each of its turns meanwhile: by default, that takes 5 ms.
_SWITCH_INTERVAL: Final = 0.0005


class ServedMetrics:
    """Listens at once, so that a port in use is found out early, and answers after ``start``.

    ``meter`` is for ``Dispatch``. Raises ConfigurationError if this process cannot listen.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.metrics_port is not None
        self._server = MetricsServer(listen(settings.metrics_host, settings.metrics_port))
        self.meter = Meter()
        self._queue: QueueWatch | None = None

    def start(self, loop: Loop, dispatch: Dispatch, settings: Settings) -> None:
        """Begin to answer, with what ``dispatch`` does. From now on this process has a thread."""
        queue = self._queue = QueueWatch(
            loop,
            settings,
            dispatch.connection,
            served=lambda: (name for name, _ in dispatch.workflows),
        )
        info = catalogue.INFO, (own_version() or "", settings.namespace, settings.schema), 1.0

        def collect() -> Snapshot:
            counted = self.meter.read(name for name, _ in dispatch.workflows)
            return Snapshot(counted, [info, *dispatch.measure(), *queue.measure()])

        sys.setswitchinterval(_SWITCH_INTERVAL)
        self._server.start(loop, collect)

    def close(self) -> None:
        """Close the socket, end the thread, and ask the database no more."""
        self._server.close()
        if self._queue is not None:
            self._queue.close()
