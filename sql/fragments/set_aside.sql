-- "attempt": the step attempts of a run, and whether a retry sets each aside. Without a step, these are
-- the failed ones; with a step, those of all steps that began no earlier than its first attempt.
--
-- "place" is the place in the table (ctid). "child" is the child run, linked or not.
--
-- Needs: $1 namespace, $2 run id, $3 the step or NULL.
-- Index: step_attempts_workflow_run_created_at_idx; workflow_runs_parent_step_idx, for each attempt
-- without a link that starts a child run.
attempt AS MATERIALIZED (
    SELECT
        b.place, b.id, b.step_name, b.kind, b.status, b.has_undo, b.number, b.child,
        CASE
            WHEN $3::text IS NULL THEN b.status = 'failed'
            ELSE b.began >= min(b.number) FILTER (WHERE b.step_name = $3::text) OVER ()
        END AS aside
    FROM (
        SELECT n.*, min(n.number) OVER (PARTITION BY n.step_name) AS began
        FROM (
            SELECT
                s.place, s.id, s.step_name, s.kind, s.status,
                s.context @> '{"undo": true}' AS has_undo,
                CASE
                    WHEN s.child IS NOT NULL OR s.kind <> 'workflow' THEN s.child
                    ELSE (
                        SELECT id
                        FROM {schema}.workflow_runs
                        WHERE parent_step_attempt_namespace_id = $1
                            AND parent_step_attempt_id = s.id
                        ORDER BY created_at, id
                        LIMIT 1
                    )
                END AS child,
                row_number() OVER (ORDER BY s.created_at, s.started_at, s.id) AS number
            FROM (
                SELECT
                    ctid AS place, id, step_name, kind, status, context, created_at, started_at,
                    child_workflow_run_id AS child
                FROM {schema}.step_attempts
                WHERE namespace_id = $1 AND workflow_run_id = $2
                ORDER BY created_at
                OFFSET 0
            ) AS s
        ) AS n
    ) AS b
)
