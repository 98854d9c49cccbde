-- Fail the runs whose deadline has passed, owned or not.
--
-- Called by: the supervisor, SweepQueries.expire_deadlines, on a timer.
-- $1 namespace, $2 how many runs at most, $3 the deadline to scan from, $4 seconds before now to
-- scan from, if that is earlier.
-- Returns first a row about the scan: a JSON object as in release_lapsed. Then the id of each run
-- that failed.
--
-- Index: owsuper_runs_deadline_idx, in its order; the primary keys.
-- Locks: the runs and their parents, FOR NO KEY UPDATE; locked rows are left for the next sweep,
-- so this never waits; then the parents' step attempts.
-- For the form of the conditions see commit, for waking parents commit_related.
WITH start AS MATERIALIZED (
    SELECT
        least($3::timestamptz, now() - $4::double precision * interval '1 second') AS since
),
asked AS MATERIALIZED (
    SELECT id AS run, parent_step_attempt_id AS step
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND deadline_at >= (SELECT since FROM start)
        AND deadline_at <= now()
        AND status IN ('pending', 'running', 'sleeping')
    ORDER BY deadline_at
    LIMIT $2::integer
),
parent AS MATERIALIZED (
    SELECT a.run AS child, a.step, s.run
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT workflow_run_id AS run
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= a.step AND id <= a.step
        ORDER BY id
        LIMIT 1
    ) AS s
),
locked AS MATERIALIZED (
    SELECT r.*
    FROM (SELECT run AS id FROM asked UNION SELECT run FROM parent ORDER BY id) AS k
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= k.id AND id <= k.id
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
),
ended AS MATERIALIZED (
    SELECT a.run
    FROM asked AS a
    JOIN locked AS l ON l.id = a.run
    LEFT JOIN parent AS p ON p.child = a.run
    WHERE l.status IN ('pending', 'running', 'sleeping')
        AND (p.run IS NULL OR p.run IN (SELECT id FROM locked))
),
run_written AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, config, attempts, created_at, updated_at,
        status, finished_at, error
    )
    SELECT
        $1, run, '', '{}', 0, now(), now(), 'failed', now(),
        '{"message": "Workflow run deadline exceeded"}'
    FROM ended
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        worker_id = NULL,
        available_at = NULL,
        error = excluded.error,
        finished_at = excluded.finished_at,
        updated_at = excluded.updated_at
),
{fragments/wake_parents},
{fragments/forget_counts}
SELECT json_build_object(
    'more', (SELECT count(*) FROM ended) >= $2::integer,
    'since', CASE
        WHEN t.count >= $2::integer THEN (SELECT since FROM start)
        ELSE now() - interval '2 s'
    END,
    'took', extract(epoch FROM t.at - statement_timestamp())
)::text
FROM (SELECT count(*), clock_timestamp() AS at FROM asked) AS t
UNION ALL
SELECT run FROM ended
