-- Which workers have executed which workflows lately, and how many workers are connected.
--
-- Called by: clients that wait for a run that nobody claims, Waits.serving. $1 namespace, $2 how
-- many workflows at most.
-- Returns a row for each workflow, the latest first: its name, and of its latest run that is owned
-- or has completed, the version, the worker id and the seconds since its last change; in each the
-- number of supervisors that are connected to this database, in any schema. Without such runs, one
-- row with that number.
--
-- The names are read first, one index entry for each of them, and of each name the newest running
-- and the newest completed run. So a name whose newest runs are parked may be missing.
--
-- Index: workflow_runs_workflow_name_status_created_at_desc_idx, in its order, which no other
-- index has. Locks: none.
WITH RECURSIVE workflow AS (
    SELECT (
        SELECT workflow_name
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1
        ORDER BY workflow_name, status, created_at DESC
        LIMIT 1
    ) AS name
    UNION ALL
    SELECT (
        SELECT workflow_name
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name > w.name
        ORDER BY workflow_name, status, created_at DESC
        LIMIT 1
    )
    FROM workflow AS w
    WHERE w.name IS NOT NULL
),
served AS (
    SELECT DISTINCT ON (w.name) w.name, r.version, r.worker_id, r.updated_at
    FROM workflow AS w
    CROSS JOIN (VALUES ('running'), ('completed')) AS s (status)
    CROSS JOIN LATERAL (
        SELECT version, worker_id, updated_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = w.name AND status = s.status
        ORDER BY created_at DESC
        LIMIT 1
    ) AS r
    WHERE r.worker_id IS NOT NULL
    ORDER BY w.name, r.updated_at DESC
)
SELECT
    s.name, s.version, s.worker_id,
    extract(epoch FROM now() - s.updated_at)::double precision, c.connected
FROM (
    SELECT count(*) AS connected
    FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND application_name = 'owsuper supervisor'
) AS c
LEFT JOIN served AS s ON true
ORDER BY s.updated_at DESC
LIMIT $2::integer
