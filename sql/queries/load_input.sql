-- The input of a run that was too large to come with the claim.
--
-- Called by: children, RunStore.load_input. $1 namespace, $2 run id.
--
-- Index: workflow_runs_pkey. Locks: none.
SELECT input::text
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND id >= $2 AND id <= $2
ORDER BY id
LIMIT 1
