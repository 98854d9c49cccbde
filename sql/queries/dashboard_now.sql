-- How many runs have each status now, counted up to a bound.
--
-- Called by: the dashboard, OverviewQueries.now. $1 namespace, $2 the bound.
-- Returns (status, count, estimate) for each possible status. A count above the bound is one more
-- than it; then the estimate is what the statistics of the last ANALYZE say of all namespaces, or
-- NULL if they do not know the status.
--
-- Index: workflow_runs_status_created_at_desc_idx, in its order (fragments/of_status), and as a
-- rule without the rows. Locks: none.
SELECT
    s.status, r.count,
    CASE WHEN r.count > $2::integer THEN (
        SELECT (greatest(c.reltuples, 0) * f.freq)::bigint
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_stats AS p
            ON p.schemaname = n.nspname AND p.tablename = c.relname AND p.attname = 'status'
        CROSS JOIN LATERAL unnest(
            p.most_common_vals::text::text[], p.most_common_freqs
        ) AS f (value, freq)
        WHERE c.oid = '{schema}.workflow_runs'::regclass AND f.value = s.status
    ) END
FROM (
    VALUES
        ('pending'), ('running'), ('sleeping'), ('completed'), ('succeeded'), ('failed'),
        ('canceled')
) AS s (status)
CROSS JOIN LATERAL (
    SELECT count(*)
    FROM (
        SELECT created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND {fragments/of_status}
        ORDER BY created_at DESC
        LIMIT $2::integer + 1
    ) AS newest
) AS r
