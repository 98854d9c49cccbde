-- Cancel a run, whoever owns it, unless it has ended.
--
-- Called by: clients, ClientQueries.cancel. $1 namespace, $2 run id.
-- Returns the status that the run had; nothing if there is no such run.
--
-- Index: workflow_runs_pkey, step_attempts_pkey, the primary keys of our own tables.
-- Locks: the run and its parent, FOR NO KEY UPDATE, in id order; then the parent's step attempt.
-- About the form of the conditions see commit, about waking commit_related.
WITH parent AS MATERIALIZED (
    SELECT r.step, s.run
    FROM (
        SELECT parent_step_attempt_id AS step
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= $2 AND id <= $2
        ORDER BY id
        LIMIT 1
    ) AS r
    CROSS JOIN LATERAL (
        SELECT workflow_run_id AS run
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= r.step AND id <= r.step
        ORDER BY id
        LIMIT 1
    ) AS s
),
locked AS MATERIALIZED (
    SELECT r.*
    FROM (SELECT $2::text AS id UNION SELECT run FROM parent ORDER BY id) AS k
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= k.id AND id <= k.id
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
),
open AS MATERIALIZED (
    SELECT id
    FROM locked
    WHERE id = $2 AND status IN ('pending', 'running', 'sleeping')
        AND (SELECT count(*) FROM locked) > 0
),
canceled AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}', 0, now(), now() FROM open
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = 'canceled',
        worker_id = NULL,
        available_at = NULL,
        finished_at = now(),
        updated_at = now()
),
awaited AS (
    SELECT p.run
    FROM open AS o
    CROSS JOIN parent AS p
    CROSS JOIN LATERAL (
        SELECT kind, status, child_workflow_run_id AS child
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= p.step AND id <= p.step
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS s
    WHERE s.kind = 'workflow' AND s.status = 'running' AND s.child = o.id
),
woken AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, l.id, '', '', '{}', 0, now(), now()
    FROM awaited AS a
    JOIN locked AS l ON l.id = a.run
    WHERE l.status = 'sleeping' OR (l.status = 'running' AND l.worker_id IS NULL)
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = least(r.available_at, now()), updated_at = now()
),
failures_forgotten AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id IN (SELECT id FROM open)
),
crashes_forgotten AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id IN (SELECT id FROM open)
)
SELECT status FROM locked WHERE id = $2
