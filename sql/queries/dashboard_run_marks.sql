-- A mark for each of some runs, which changes when the run or one of its step attempts does, or with
-- its progress and its log lines, but not when its lease is renewed.
--
-- Called by: the dashboard, ChangeQueries.run_marks. $1 namespace, $2 ids of runs.
--
-- All attempts of these runs are read, without their values.
--
-- Index: workflow_runs_pkey, step_attempts_workflow_run_created_at_idx, owsuper_progress_pkey,
-- owsuper_log_lines_pkey. Locks: none.
-- For the form of the conditions see commit.
SELECT
    wanted.id,
    concat_ws(
        ' ', r.status, r.attempts, r.worker_id, r.deadline_at, r.finished_at,
        CASE WHEN r.worker_id IS NULL THEN r.available_at END, s.many, s.open, s.latest,
        p.updated_at, l.id
    )
FROM unnest($2::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT *
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= wanted.id AND id <= wanted.id
    ORDER BY id
    LIMIT 1
) AS r
CROSS JOIN LATERAL (
    SELECT
        count(*) AS many, count(*) FILTER (WHERE status = 'running') AS open,
        max(updated_at) AS latest
    FROM (
        SELECT status, updated_at
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = r.id
        ORDER BY created_at
        OFFSET 0
    ) AS attempts
) AS s
LEFT JOIN LATERAL (
    SELECT updated_at
    FROM {schema}.owsuper_progress
    WHERE namespace_id = $1 AND workflow_run_id >= r.id AND workflow_run_id <= r.id
    ORDER BY workflow_run_id
    LIMIT 1
) AS p ON true
LEFT JOIN LATERAL (
    SELECT id
    FROM {schema}.owsuper_log_lines
    WHERE namespace_id = $1 AND workflow_run_id = r.id
    ORDER BY namespace_id DESC, workflow_run_id DESC, id DESC
    LIMIT 1
) AS l ON true
