-- The workflow of a run.
--
-- Called by: clients, ClientQueries.start, after start, for a run whose id the caller chose.
-- $1 namespace, $2 run id. A statement of its own, so that it sees a run that another session has
-- stored meanwhile.
--
-- Index: workflow_runs_pkey. Locks: none.
-- For the form of the conditions see commit.
SELECT workflow_name
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND id >= $2 AND id <= $2
ORDER BY id
LIMIT 1
