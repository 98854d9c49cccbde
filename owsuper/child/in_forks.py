"""What a child leaves open to the processes that steps fork: nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from owsuper.child import evidence, stacks
from owsuper.child.services import Services
from owsuper.child.spec import ChildSpec
from owsuper.client import fork_safety
from owsuper.event_loop import Loop, Waker


@dataclass(eq=False)
class InForks:
    """Closes the descriptors of a child in processes that it forks. See ``ForkSafe``.

    With a copy of the pipe, the supervisor would not see the death of the child, and with a copy
    of a connection, the server would not.
    """

    spec: ChildSpec
    loop: Loop
    waker: Waker
    services: Services

    def __post_init__(self) -> None:
        fork_safety.forget_in_children(self)

    def end(self) -> None:
        """Do nothing in later forks: the descriptors are about to be closed."""
        fork_safety.keep_in_children(self)

    def suspend_connections(self) -> None:
        """Leave everything open in this process."""

    def forget_connections(self) -> tuple[object, Iterable[int]]:
        """Return what a forked process must close."""
        evidence.end_in_fork()
        self.services.flight_recorder.detach()
        stacks.forget_signal()
        ours = (self.spec.flight_fd, *self.loop.descriptors(), self.waker.signal_fd)
        asyncio_loop = self.services.loop_thread.descriptors()
        return self, (*ours, *asyncio_loop, *self.services.database.sockets())
