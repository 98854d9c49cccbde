-- The state of runs, and the results of ended runs.
--
-- Called by: clients that wait for results, Waits.read. $1 namespace, $2 run ids.
-- Returns a row for each run that exists.
--
-- Index: workflow_runs_pkey. Locks: none.
SELECT id, workflow_name, status, output::text, error::text
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND id = ANY ($2::text[])
