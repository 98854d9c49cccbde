-- The histories of runs, in the form that owsuper runs export prints (owsuper/testing/exported.py),
-- and what is known beside them.
--
-- Called by: whoever deletes old runs and keeps a copy, PruneQueries.documents. $1 namespace, $2 ids
-- (JSON array).
-- Returns a row for each run: a JSON object.
--
-- Index: workflow_runs_pkey; step_attempts_workflow_run_created_at_idx;
-- workflow_signals_step_attempt_idx; those of fragments/run_links; the primary keys of our tables.
-- Locks: none.
SELECT json_build_object(
    'format', 1,
    'run', json_build_object(
        'id', r.id, 'workflow_name', r.workflow_name, 'version', r.version, 'status', r.status,
        'attempts', r.attempts, 'idempotency_key', r.idempotency_key, 'input', r.input::text,
        'output', r.output::text, 'error', r.error::text, 'worker_id', r.worker_id,
        'available_at', r.available_at,
        'deadline_at', CASE WHEN isfinite(r.deadline_at) THEN r.deadline_at END,
        'created_at', r.created_at, 'started_at', r.started_at, 'finished_at', r.finished_at,
        'updated_at', r.updated_at, 'began_at', least(r.started_at, f.began_at),
        'parent_run_id', p.workflow_run_id, 'parent_step_name', p.step_name,
        'continued_from', r.context ->> 'continuedFrom',
        'continued_as', r.context ->> 'continuedAs',
        'rerun_of', r.context ->> 'rerunOf', 'rerun_as', r.context ->> 'rerunAs',
        'attributes', {fragments/attributes_of_run}
    ),
    'steps', coalesce(h.steps, '[]'),
    'child_inputs', coalesce(h.inputs, '{}'),
    'post_mortems', coalesce((
        SELECT json_agg(json_build_object(
            'died_at', died_at, 'counted', counted, 'evidence', evidence
        ) ORDER BY died_at)
        FROM (
            SELECT *
            FROM {schema}.owsuper_post_mortems
            WHERE namespace_id = $1 AND workflow_run_id >= r.id AND workflow_run_id <= r.id
            ORDER BY namespace_id, workflow_run_id, crash_id
            OFFSET 0
        ) AS death
    ), '[]'),
    'retries', coalesce((
        SELECT json_agg(json_build_object(
            'retried_at', retried_at, 'failed_at', failed_at, 'error', error,
            'status', coalesce(status, 'failed'), 'from_step', from_step, 'output', output
        ) ORDER BY retried_at)
        FROM {schema}.owsuper_retries
        WHERE namespace_id = $1 AND workflow_run_id = r.id
    ), '[]'),
    'log_lines', coalesce((
        SELECT json_agg(json_build_object(
            'logged_at', logged_at, 'level', level, 'logger', logger, 'message', message,
            'exception', exception, 'step', step, 'attempt', attempt, 'host', host, 'pid', pid,
            'fields', fields
        ) ORDER BY id)
        FROM (
            SELECT *
            FROM {schema}.owsuper_log_lines
            WHERE namespace_id = $1 AND workflow_run_id >= r.id AND workflow_run_id <= r.id
            ORDER BY namespace_id, workflow_run_id, id
            OFFSET 0
        ) AS line
    ), '[]')
)::text
FROM json_array_elements_text($2::json) AS asked (id)
CROSS JOIN LATERAL (
    SELECT *
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= asked.id AND id <= asked.id
    ORDER BY id
    LIMIT 1
) AS r
{fragments/run_links}
LEFT JOIN LATERAL (
    SELECT
        json_agg(json_build_object(
            'id', s.id, 'step_name', s.step_name, 'kind', s.kind, 'status', s.status,
            'context', s.context, 'output', s.output, 'error', s.error,
            'created_at', s.created_at, 'started_at', s.started_at, 'finished_at', s.finished_at,
            'child', CASE WHEN c.id IS NOT NULL THEN json_build_object(
                'run_id', c.id, 'status', c.status, 'output', c.output, 'error', c.error,
                'finished_at', c.finished_at
            ) END,
            'signal', CASE WHEN d.id IS NOT NULL THEN json_build_object(
                'id', d.id, 'data', d.data
            ) END
        ) ORDER BY s.created_at, s.started_at, s.id) AS steps,
        json_object_agg(c.id, i.input::text) FILTER (WHERE c.id IS NOT NULL) AS inputs
    FROM (
        SELECT *
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = r.id
        ORDER BY created_at
        OFFSET 0
    ) AS s
    LEFT JOIN LATERAL (
        SELECT id, status, output, error, finished_at, coalesce(context ->> 'firstRun', id) AS first
        FROM {schema}.workflow_runs
        WHERE s.kind = 'workflow' AND namespace_id = s.child_workflow_run_namespace_id
            AND id >= s.child_workflow_run_id AND id <= s.child_workflow_run_id
        ORDER BY id
        LIMIT 1
    ) AS c ON true
    LEFT JOIN LATERAL (
        SELECT input
        FROM {schema}.workflow_runs
        WHERE namespace_id = s.child_workflow_run_namespace_id AND id >= c.first AND id <= c.first
        ORDER BY id
        LIMIT 1
    ) AS i ON true
    LEFT JOIN LATERAL (
        SELECT id, data
        FROM {schema}.workflow_signals
        WHERE s.kind = 'signal-wait' AND namespace_id = $1
            AND step_attempt_id >= s.id AND step_attempt_id <= s.id
        ORDER BY step_attempt_id
        LIMIT 1
    ) AS d ON true
) AS h ON true
