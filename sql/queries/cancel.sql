-- Cancel a run, owned or not, unless it has ended.
--
-- Called by: clients, ClientQueries.cancel. $1 namespace, $2 run id.
-- Returns the status before, the successor of a run that has continued as new, the workflow, the
-- version and the trace carrier; no row if there is no such run.
--
-- Index: workflow_runs_pkey, step_attempts_pkey, the primary keys of our own tables.
-- Locks: the run, FOR NO KEY UPDATE; then the parent's step attempt; then the parent. The end of the
-- run locks them in the same order, so that the two do not deadlock.
-- For the form of the conditions see commit, for waking parents commit_related.
WITH ending AS (
    SELECT $2::text AS run
),
{fragments/find_parents},
locked AS MATERIALIZED (
    SELECT id, status, context, workflow_name, version
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
),
ended AS MATERIALIZED (
    SELECT id AS run
    FROM locked
    WHERE status IN ('pending', 'running', 'sleeping')
),
canceled AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, run, '', '', '{}', 0, now(), now() FROM ended
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = 'canceled',
        worker_id = NULL,
        available_at = NULL,
        finished_at = now(),
        updated_at = now()
),
{fragments/wake_parents},
{fragments/forget_counts}
SELECT
    status, context ->> 'continuedAs', workflow_name, version, (context -> 'traceContext')::text
FROM locked
