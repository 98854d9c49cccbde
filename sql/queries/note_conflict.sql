-- Note a run that was started under a limit with on_conflict.
--
-- Called by: clients, ConflictQueries.note, in one transaction with find_conflicts. $1 namespace, $2
-- the limit, $3 the key, $4 run id. May be repeated.
--
-- Index: none is read but owsuper_conflicts_pkey. Locks: none.
INSERT INTO {schema}.owsuper_conflicts (namespace_id, limit_name, key, workflow_run_id)
VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
