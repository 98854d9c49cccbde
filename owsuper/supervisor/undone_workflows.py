"""The workflows of which some run was ever undone: their undos are claimed like other runs.

The undos of a workflow are runs of a workflow of another name (``core.undoing``). A supervisor
claims these names only for the workflows that need it, so that others do not pay for it with every
claim.
"""

from __future__ import annotations

from owsuper.core.undoing import undo_workflow
from owsuper.db.claims import ClaimQueries, Workflow, parse_workflows
from owsuper.db.statement import NO_TABLE, Result
from owsuper.supervisor.connection import KeptConnection
from owsuper.supervisor.presence import Workflows


class UndoneWorkflows:
    """Knows them, over a shared connection.

    ``refused``: the database did not tell them, though it may later. Then ``look`` again.
    """

    def __init__(self, connection: KeptConnection, queries: ClaimQueries) -> None:
        self._connection = connection
        self._queries = queries
        self._known: frozenset[Workflow] = frozenset()
        self._served: tuple[Workflows, Workflows] = ((), ())  # without and with the undos
        self.looking = self.refused = False
        self._look_again = False

    def on_connection_lost(self) -> None:
        """Forget the look in flight; its answer never comes."""
        self.looking = self._look_again = False

    def look(self) -> None:
        """Read which there are. Without effect while the connection is down."""
        if not self._connection.up:
            return
        if self.looking:
            self._look_again = True  # the answer may be older than what has changed
            return
        self.looking = True
        statement, params = self._queries.undone_workflows()
        self._connection.send(statement, params, self._handle)

    def _handle(self, result: Result) -> None:
        self.looking = False
        refused = self._connection.refused("read which workflows have undos", result)
        self.refused = refused and result.sqlstate not in NO_TABLE
        if not refused:
            known = frozenset(parse_workflows(result.rows))
            if known != self._known:
                self._known, self._served = known, ((), ())
        if self._look_again:
            self._look_again = False
            self.look()

    def add_to(self, workflows: Workflows) -> Workflows:
        """Return these workflows, and those of their undos; the same object for the same ones."""
        if not self._known:
            return workflows
        if self._served[0] is not workflows:
            undos = [(undo_workflow(name), v) for name, v in workflows if (name, v) in self._known]
            self._served = (workflows, (*workflows, *undos) if undos else workflows)
        return self._served[1]
