-- As dashboard_runs, of the child runs of one run.
--
-- Called by: the dashboard, RunLists.page, with a parent. $1 to $13 and the result as in
-- dashboard_runs, $14 id of the parent, $15 whether only those that were given up because they kept
-- killing their process, $16 attributes (JSON object), $17 text with which the id begins or which is
-- the idempotency key, or NULL.
--
-- All step attempts of the parent are read, rarely more than a thousand, and all its child runs.
-- So $8 is without effect.
--
-- Index: step_attempts_workflow_run_created_at_idx, workflow_runs_pkey, the primary keys of our own
-- tables; those of fragments/has_attributes and dashboard_page. Locks: none. For the form of the conditions see commit.
WITH wanted AS MATERIALIZED (
    SELECT key AS name, value FROM json_each_text($16::json)
),
edge AS MATERIALIZED (
    SELECT CASE WHEN $8::integer IS NULL THEN now() END AS at
),
found AS (
    SELECT c.*
    FROM (
        (
            SELECT child_workflow_run_namespace_id AS namespace, child_workflow_run_id AS child
            FROM {schema}.step_attempts
            WHERE namespace_id = $1 AND workflow_run_id = $14
            ORDER BY created_at
            OFFSET 0
        )
        UNION ALL
        SELECT child_workflow_run_namespace_id, child_workflow_run_id
        FROM {schema}.owsuper_retried_attempts
        WHERE namespace_id = $1 AND workflow_run_id = $14
    ) AS s
    CROSS JOIN LATERAL (
        SELECT {fragments/dashboard_found}
        FROM {schema}.workflow_runs
        WHERE namespace_id = s.namespace AND id >= s.child AND id <= s.child
        ORDER BY id
        LIMIT 1
    ) AS c
    WHERE s.namespace = $1
        AND ({fragments/dashboard_crashed_only})
        AND {fragments/has_attributes}
        AND ($17::text IS NULL OR starts_with(c.id, $17) OR c.idempotency_key = $17)
),
{fragments/dashboard_page}
