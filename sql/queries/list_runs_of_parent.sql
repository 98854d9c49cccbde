-- As list_runs, of the child runs of one run.
--
-- Called by: clients, ListQueries.runs, with a parent. $1 to $7 as in list_runs, $8 workflow name
-- or NULL, $9 statuses (array), $10 idempotency key or NULL, $11 id of the parent.
--
-- All step attempts of the parent are read, rarely more than a thousand, and all its child runs,
-- those of attempts that a retry set aside included. The other filters apply to these.
--
-- Index: step_attempts_workflow_run_created_at_idx, workflow_runs_pkey, the primary key of our own
-- table; those of fragments/run_links. Locks: none. For the form of the conditions see commit.
SELECT
{fragments/run_columns}
FROM (
    SELECT
        c.*,
        row_number() OVER (
            ORDER BY
                CASE WHEN $5::boolean THEN c.created_at END, CASE WHEN $5::boolean THEN c.id END,
                c.created_at DESC, c.id DESC
        ) AS number
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
    WHERE c.status = ANY ($9::text[])
        AND ($8::text IS NULL OR c.workflow_name = $8)
        AND ($10::text IS NULL OR c.idempotency_key = $10)
        AND c.created_at >= $6::timestamptz AND c.created_at <= $7::timestamptz
        AND CASE
            WHEN $5::boolean THEN (c.created_at, c.id) > ($2::timestamptz, $3::text)
            ELSE (c.created_at, c.id) < ($2::timestamptz, $3::text)
        END
) AS r
{fragments/run_links}
WHERE r.number <= $4::integer
ORDER BY r.number
