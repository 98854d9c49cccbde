"""Which child gets a run."""

from __future__ import annotations

from collections.abc import Collection

from owsuper.core.undoing import undone_workflow
from owsuper.supervisor.child import Child, HeldRun
from owsuper.supervisor.child_state import ChildState


def assign(children: Collection[Child], held: HeldRun, *, mixed: bool) -> bool:
    """Give the run to the child with the most free slots; return False if none is free.

    A child that has taken its number of runs gets it only if no other child has a free slot.

    A suspect, a run that may have killed its process, goes to an idle child and stays alone
    there. If no child is idle, one is reserved: it takes no more runs until it is idle.

    With ``mixed``, children have different code: not all of them know each workflow.
    """
    if mixed:
        children = _children_for(children, held)
    if held.run.suspect:
        return _assign_alone(children, held)
    child = max(children, key=_preference, default=None)
    if child is None or not child.free:
        return False
    child.assign(held)
    return True


def _preference(child: Child) -> tuple[bool, int]:
    free = child.free
    return free > 0 and not child.used_up, free


def release_reservations(children: Collection[Child]) -> None:
    """End reservations for suspects; call this when no suspect waits."""
    for child in children:
        if child.reserved and (child.idle or child.reserved_but_busy):
            child.reserved = False


def _children_for(children: Collection[Child], held: HeldRun) -> Collection[Child]:
    """Return the children that know the workflow: those of the latest code, if one is free."""
    name = held.run.workflow_name
    workflow = (undone_workflow(name) or name, held.run.version)
    able = [child for child in children if workflow in child.workflows]
    latest = [child for child in able if not child.outdated]
    return latest if any(child.free for child in latest) else able


def _assign_alone(children: Collection[Child], held: HeldRun) -> bool:
    ready = [each for each in children if each.state is ChildState.READY]
    idle = [each for each in ready if each.idle]
    if idle:  # even if another child is reserved
        chosen = max(idle, key=lambda each: each.reserved)
        chosen.reserved = True
        chosen.assign(held)
        return True
    unreserved = [each for each in ready if not each.reserved]
    if unreserved and not any(each.reserved_but_busy for each in ready):
        min(unreserved, key=lambda each: len(each.held)).reserved = True
    return False
