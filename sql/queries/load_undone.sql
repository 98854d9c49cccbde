-- A run whose undos are to be executed, with its deadline and its input.
--
-- Called by: children, RunStore.load_undone, before every execution of a run that executes undos.
-- $1 namespace, $2 run id.
-- Returns one row; no row if there is no such run.
--
-- Index: workflow_runs_pkey. Locks: none.
-- For the form of the conditions see commit.
SELECT deadline_at, created_at, context ->> 'undoneBy', input::text
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND id >= $2 AND id <= $2
ORDER BY id
LIMIT 1
