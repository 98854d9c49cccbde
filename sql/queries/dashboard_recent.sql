-- How many of the newest runs of each status were created in each stretch of time.
--
-- Called by: the dashboard, OverviewQueries.recent. $1 namespace, $2 the first time of creation,
-- $3 the length of a stretch in seconds, $4 how many runs of each status to read at most: the newest.
-- Returns (status, beginning of a stretch, count), with stretches that begin at $2, and without those
-- that are empty.
--
-- The time of creation is what indexes know; there is none by the time of the end.
--
-- Index: workflow_runs_status_created_at_desc_idx, in its order (fragments/of_status), and as a
-- rule without the rows. Locks: none.
SELECT
    s.status,
    date_bin(make_interval(secs => $3::double precision), r.created_at, $2::timestamptz),
    count(*)
FROM (
    VALUES
        ('pending'), ('running'), ('sleeping'), ('completed'), ('succeeded'), ('failed'),
        ('canceled')
) AS s (status)
CROSS JOIN LATERAL (
    SELECT created_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND {fragments/of_status} AND created_at >= $2::timestamptz
    ORDER BY created_at DESC
    LIMIT $4::integer
) AS r
GROUP BY 1, 2
