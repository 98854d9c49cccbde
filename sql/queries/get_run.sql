-- A run, in full.
--
-- Called by: clients, ClientQueries.get_run. $1 namespace, $2 run id.
--
-- Index: workflow_runs_pkey. Locks: none.
SELECT
    id, workflow_name, version, status, attempts, idempotency_key, input::text, output::text,
    error::text, worker_id, available_at, deadline_at, created_at, started_at, finished_at,
    updated_at
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND id >= $2 AND id <= $2
ORDER BY id
LIMIT 1
