-- Joins "p", the step attempt that started a run, and "f", the first step attempt of the run.
--
-- A rerun has copies of the attempts of another run, which began before it.
--
-- A run whose parent was retried has lost its link to a failed attempt; the attempt set aside
-- still names it.
--
-- Needs: r, a row of workflow_runs. $1 namespace.
-- Index: step_attempts_pkey, step_attempts_workflow_run_created_at_idx, those of our own table; one
-- row of each.
LEFT JOIN LATERAL (
    (
        SELECT workflow_run_id, step_name
        FROM {schema}.step_attempts
        WHERE namespace_id = r.parent_step_attempt_namespace_id
            AND id >= r.parent_step_attempt_id AND id <= r.parent_step_attempt_id
        ORDER BY id
        LIMIT 1
    )
    UNION ALL
    (
        SELECT workflow_run_id, step_name
        FROM {schema}.owsuper_retried_attempts
        WHERE namespace_id = $1 AND child_workflow_run_id = r.id
            AND r.parent_step_attempt_id IS NULL
        LIMIT 1
    )
) AS p ON true
LEFT JOIN LATERAL (
    SELECT coalesce(started_at, created_at) AS began_at
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND workflow_run_id = r.id
        AND created_at >= CASE
            WHEN r.context ->> 'rerunOf' IS NULL THEN '-infinity' ELSE r.created_at
        END
    ORDER BY created_at
    LIMIT 1
) AS f ON true
