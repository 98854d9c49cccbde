-- Start runs, as start, of which some have options of their own.
--
-- Called by: clients, ClientQueries.start and start_many. $1 namespace, $2 runs (JSON array).
-- The caller makes the ids, so this may be repeated.
--
-- Index: none is read but workflow_runs_pkey. Locks: none.
{fragments/new_runs}
ON CONFLICT (namespace_id, id) DO NOTHING
