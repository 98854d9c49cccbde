-- CTEs "matching" and "page", and the page of a list of the dashboard: of the runs in "found".
--
-- Values are not read, because one may have megabytes; nor is the message of an error so large.
--
-- Needs: found, with the columns of fragments/dashboard_found; edge (at); $1 to $13 as in
-- dashboard_runs. Returns the columns of db.dashboard.run_lists.RunSummary, the number of runs in
-- "found" that match, and at. There is one row, with an id of NULL, if no run is on the page.
-- Index: workflow_runs_pkey, owsuper_post_mortems_pkey; those of fragments/run_links and
-- attributes_of_run.
-- For the form of the conditions see commit.
matching AS MATERIALIZED (
    SELECT id, created_at
    FROM found
    WHERE created_at >= $6::timestamptz AND created_at <= $7::timestamptz
        AND ($9::text IS NULL OR version = $9)
        AND ($10::timestamptz IS NULL OR finished_at >= $10)
        AND ($11::timestamptz IS NULL OR finished_at <= $11)
        AND status = ANY ($12::text[])
        AND (
            $13::text IS NULL OR workflow_name = $13 OR $13 = '' AND workflow_name NOT LIKE 'undo:%'
        )
),
page AS MATERIALIZED (
    SELECT
        id,
{fragments/page_number}
    FROM matching
    WHERE {fragments/beyond}
    ORDER BY number
    LIMIT $4::integer
)
SELECT
    r.id, r.workflow_name, r.version, r.status, r.attempts, r.idempotency_key,
    CASE WHEN pg_column_size(r.error) <= 10000 THEN left(r.error ->> 'message', 300) END,
    r.worker_id, r.available_at, r.deadline_at, r.created_at,
    least(r.started_at, f.began_at), r.finished_at, p.workflow_run_id, d.crashed,
    {fragments/attributes_of_run},
    (SELECT count(*) FROM matching), e.at
FROM edge AS e
LEFT JOIN page AS n ON true
LEFT JOIN LATERAL (
    SELECT *
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= n.id AND id <= n.id
    ORDER BY id
    LIMIT 1
) AS r ON true
{fragments/run_links}
LEFT JOIN LATERAL (
    SELECT bool_or(given_up) AS crashed
    FROM {schema}.owsuper_post_mortems
    WHERE namespace_id = $1 AND workflow_run_id = r.id
) AS d ON true
ORDER BY n.number
