"""What user code may call inside a workflow.

``def`` workflows get a :class:`Step`, ``async def`` workflows an :class:`AsyncStep`: the same
names and arguments, blocking and awaitable. Both turn each call into a request, and leave it to
the engine behind them.
"""

from owsuper.step.asynchronous import AsyncStep
from owsuper.step.sync import Step

__all__ = ["AsyncStep", "Step"]
