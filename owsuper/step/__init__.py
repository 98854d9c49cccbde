"""The step objects, whose methods user code calls inside a workflow.

``def`` workflows get a :class:`Step`, ``async def`` workflows an :class:`AsyncStep`, with the same
method names and arguments, blocking and awaitable. Both turn each call into a request, and hand
the request to their engine.
"""

from owsuper.step.asynchronous import AsyncStep
from owsuper.step.sync import Step

__all__ = ["AsyncStep", "Step"]
