-- How far these runs are, and the results of those that ended.
--
-- Called by: clients that wait for results. $1 namespace, $2 run ids.
-- Returns a row for each run that exists.
--
-- Index: workflow_runs_pkey. Locks: none.
SELECT id, workflow_name, status, output::text, error::text
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND id = ANY ($2::text[])
