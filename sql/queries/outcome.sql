-- Status and worker id of a run.
--
-- Called by: children that did not get the answer to a commit, RunStore.outcome_of.
-- $1 namespace, $2 run id.
--
-- Index: workflow_runs_pkey. Locks: none.
SELECT status, worker_id
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND id >= $2 AND id <= $2
ORDER BY id
LIMIT 1
