-- Cancel a run, owned or not, unless it has ended.
--
-- Called by: clients, ClientQueries.cancel. $1 namespace, $2 run id.
-- Returns the status before; no row if there is no such run.
--
-- Index: workflow_runs_pkey, step_attempts_pkey, the primary keys of our own tables.
-- Locks: the run and its parent, FOR NO KEY UPDATE, in id order; then the parent's step attempt.
-- For the form of the conditions see commit, for waking parents commit_related.
WITH ending AS (
    SELECT $2::text AS run
),
{fragments/find_parents},
locked AS MATERIALIZED (
    SELECT r.*
    FROM (SELECT run AS id FROM ending UNION SELECT run FROM parent ORDER BY id) AS k
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= k.id AND id <= k.id
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
),
ended AS MATERIALIZED (
    SELECT id AS run
    FROM locked
    WHERE id = $2 AND status IN ('pending', 'running', 'sleeping')
        AND (SELECT count(*) FROM locked) > 0
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
SELECT status FROM locked WHERE id = $2
