-- How many runs of a namespace there are of each status.
--
-- Called by: clients, ListQueries.counts. $1 namespace.
-- Returns (status, count) for each status that there can be.
--
-- Index: workflow_runs_status_created_at_desc_idx, all of its entries of this namespace, but
-- hardly any row; in its order, which no other index has. So it takes the longer the more runs
-- there are: some 100 ms for a million.
-- Locks: none.
SELECT s.status, r.count
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
        WHERE namespace_id = $1 AND status = s.status
        ORDER BY created_at DESC
        OFFSET 0
    ) AS runs
) AS r
