-- As list_runs, of the runs that were given up because they kept killing their process.
--
-- Called by: clients, ListQueries.runs, with crashed. $1 to $7 as in list_runs, $8 workflow name or
-- NULL, $9 statuses (array), $10 idempotency key or NULL.
--
-- A run has at most one post-mortem that is given_up, and none after a retry. The other filters
-- apply to what is read.
--
-- Index: owsuper_post_mortems_given_up_idx, in its order; workflow_runs_pkey; those of
-- fragments/run_links. Locks: none. For the form of the conditions see commit.
WITH few AS MATERIALIZED (
    (
        SELECT r.*
        FROM {schema}.owsuper_post_mortems AS d
        CROSS JOIN LATERAL (
            SELECT *
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND id >= d.workflow_run_id AND id <= d.workflow_run_id
            ORDER BY id
            LIMIT 1
        ) AS r
        WHERE NOT $5::boolean AND d.namespace_id = $1 AND d.given_up
            AND (d.run_created_at, d.workflow_run_id) < ($2::timestamptz, $3::text)
            AND d.run_created_at >= $6::timestamptz AND d.run_created_at <= $7::timestamptz
            AND r.status = ANY ($9::text[])
            AND ($8::text IS NULL OR r.workflow_name = $8)
            AND ($10::text IS NULL OR r.idempotency_key = $10)
        ORDER BY d.run_created_at DESC, d.workflow_run_id DESC
        LIMIT $4::integer
    )
    UNION ALL
    (
        SELECT r.*
        FROM {schema}.owsuper_post_mortems AS d
        CROSS JOIN LATERAL (
            SELECT *
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND id >= d.workflow_run_id AND id <= d.workflow_run_id
            ORDER BY id
            LIMIT 1
        ) AS r
        WHERE $5::boolean AND d.namespace_id = $1 AND d.given_up
            AND (d.run_created_at, d.workflow_run_id) > ($2::timestamptz, $3::text)
            AND d.run_created_at >= $6::timestamptz AND d.run_created_at <= $7::timestamptz
            AND r.status = ANY ($9::text[])
            AND ($8::text IS NULL OR r.workflow_name = $8)
            AND ($10::text IS NULL OR r.idempotency_key = $10)
        ORDER BY d.run_created_at, d.workflow_run_id
        LIMIT $4::integer
    )
)
{fragments/page_of_few}
