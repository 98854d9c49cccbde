-- As list_runs, of the runs that have some attributes.
--
-- Called by: clients, ListQueries.runs, with attributes. $1 to $7 as in list_runs, $8 workflow name or
-- NULL, $9 statuses (array), $10 idempotency key or NULL, $11 name of one of the attributes, $12
-- whether only those that were given up because they kept killing their process, $13 the
-- other attributes (JSON object), $14 the value of $11.
--
-- Runs are read in the order of the list by the attribute $11. The other filters apply to what is
-- read.
--
-- Index: owsuper_run_attributes_value_idx, in its order; workflow_runs_pkey; those of
-- fragments/has_attributes and fragments/run_links. Locks: none.
-- For the form of the conditions see commit.
WITH wanted AS MATERIALIZED (
    SELECT key AS name, value FROM json_each_text($13::json)
),
few AS MATERIALIZED (
    (
        SELECT c.*
        FROM {schema}.owsuper_run_attributes AS d
        CROSS JOIN LATERAL (
            SELECT *
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND id >= d.workflow_run_id AND id <= d.workflow_run_id
            ORDER BY id
            LIMIT 1
        ) AS c
        WHERE NOT $5::boolean AND d.namespace_id = $1 AND d.name = $11 AND d.value = $14
            AND (d.run_created_at, d.workflow_run_id) < ($2::timestamptz, $3::text)
            AND d.run_created_at >= $6::timestamptz AND d.run_created_at <= $7::timestamptz
            AND c.status = ANY ($9::text[])
            AND ($8::text IS NULL OR c.workflow_name = $8)
            AND ($10::text IS NULL OR c.idempotency_key = $10)
            AND (NOT $12::boolean OR (
                SELECT bool_or(given_up)
                FROM {schema}.owsuper_post_mortems
                WHERE namespace_id = $1 AND workflow_run_id = c.id
            ))
            AND {fragments/has_attributes}
        ORDER BY d.run_created_at DESC, d.workflow_run_id DESC
        LIMIT $4::integer
    )
    UNION ALL
    (
        SELECT c.*
        FROM {schema}.owsuper_run_attributes AS d
        CROSS JOIN LATERAL (
            SELECT *
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND id >= d.workflow_run_id AND id <= d.workflow_run_id
            ORDER BY id
            LIMIT 1
        ) AS c
        WHERE $5::boolean AND d.namespace_id = $1 AND d.name = $11 AND d.value = $14
            AND (d.run_created_at, d.workflow_run_id) > ($2::timestamptz, $3::text)
            AND d.run_created_at >= $6::timestamptz AND d.run_created_at <= $7::timestamptz
            AND c.status = ANY ($9::text[])
            AND ($8::text IS NULL OR c.workflow_name = $8)
            AND ($10::text IS NULL OR c.idempotency_key = $10)
            AND (NOT $12::boolean OR (
                SELECT bool_or(given_up)
                FROM {schema}.owsuper_post_mortems
                WHERE namespace_id = $1 AND workflow_run_id = c.id
            ))
            AND {fragments/has_attributes}
        ORDER BY d.run_created_at, d.workflow_run_id
        LIMIT $4::integer
    )
)
{fragments/page_of_few}
