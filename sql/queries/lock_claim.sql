-- Lock a run whose claim is good, and so wait for the end of transactions that write to it.
--
-- Called by: children that did not get the answer to the commit of a step's transaction,
-- RunStore.has_stored. $1 namespace, $2 run id, $3 worker id. Returns a row if the claim is good.
--
-- Index: workflow_runs_pkey. Locks: the run, FOR NO KEY UPDATE.
-- For the form of the conditions see commit.
SELECT id
FROM (
    SELECT id, status, worker_id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
) AS r
WHERE status = 'running' AND worker_id = $3
