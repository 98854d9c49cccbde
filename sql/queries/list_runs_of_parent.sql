-- As list_runs, of the child runs of one run.
--
-- Called by: clients, ListQueries.runs, with a parent. $1 to $7 as in list_runs, $8 workflow name
-- or NULL, $9 statuses (array), $10 idempotency key or NULL, $11 id of the parent, $12 whether only
-- those that were given up because they kept killing their process, $13 attributes (JSON object).
--
-- All step attempts of the parent are read, rarely more than a thousand, and all its child runs,
-- those of attempts that a retry set aside included. The other filters apply to these.
--
-- Index: step_attempts_workflow_run_created_at_idx, workflow_runs_pkey, the primary keys of our own
-- tables; those of fragments/has_attributes and fragments/run_links. Locks: none. For the form of the conditions see commit.
WITH wanted AS MATERIALIZED (
    SELECT key AS name, value FROM json_each_text($13::json)
),
few AS (
    SELECT c.*
    FROM (
        (
            SELECT child_workflow_run_namespace_id AS namespace, child_workflow_run_id AS child
            FROM {schema}.step_attempts
            WHERE namespace_id = $1 AND workflow_run_id = $11
            ORDER BY created_at
            OFFSET 0
        )
        UNION ALL
        SELECT child_workflow_run_namespace_id, child_workflow_run_id
        FROM {schema}.owsuper_retried_attempts
        WHERE namespace_id = $1 AND workflow_run_id = $11
    ) AS s
    CROSS JOIN LATERAL (
        SELECT *
        FROM {schema}.workflow_runs
        WHERE namespace_id = s.namespace AND id >= s.child AND id <= s.child
        ORDER BY id
        LIMIT 1
    ) AS c
    WHERE ($8::text IS NULL OR c.workflow_name = $8)
        AND ($10::text IS NULL OR c.idempotency_key = $10)
        AND (NOT $12::boolean OR (
            -- Not in the WHERE, where it would invite the index of all runs that were given up.
            SELECT bool_or(given_up)
            FROM {schema}.owsuper_post_mortems
            WHERE namespace_id = $1 AND workflow_run_id = c.id
        ))
        AND {fragments/has_attributes}
)
{fragments/page_of_few}
