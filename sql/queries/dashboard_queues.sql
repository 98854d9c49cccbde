-- The runs that are due and that nobody owns, by workflow and version.
--
-- Called by: the dashboard, OverviewQueries.queues. $1 namespace, $2 how many workflows and versions
-- at most, $3 how many due runs of each, new and begun, to count at most.
-- Returns (workflow, version, due, the due time of the oldest, whether there are more due runs than
-- were counted), for those with due runs.
--
-- The names and versions are read first, one index entry for each. Runs that were claimed lately may
-- still have entries at the start of their queue, until vacuum removes them.
--
-- Index: owsuper_runs_queue_idx, in its order, which no other index has. Locks: none.
WITH RECURSIVE queue AS (
    (
        SELECT workflow_name, coalesce(version, '') AS version, 1 AS number
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1
            AND worker_id IS NULL AND available_at IS NOT NULL
            AND status IN ('pending', 'running', 'sleeping')
        ORDER BY
            namespace_id, workflow_name, (coalesce(version, '')), (status <> 'pending'),
            available_at NULLS FIRST
        LIMIT 1
    )
    UNION ALL
    SELECT following.workflow_name, following.version, q.number + 1
    FROM queue AS q
    CROSS JOIN LATERAL (
        SELECT workflow_name, coalesce(r.version, '') AS version
        FROM {schema}.workflow_runs AS r
        WHERE namespace_id = $1
            AND (workflow_name, coalesce(r.version, '')) > (q.workflow_name, q.version)
            AND worker_id IS NULL AND available_at IS NOT NULL
            AND status IN ('pending', 'running', 'sleeping')
        ORDER BY
            namespace_id, workflow_name, (coalesce(r.version, '')), (status <> 'pending'),
            available_at NULLS FIRST
        LIMIT 1
    ) AS following
    WHERE q.number < $2::integer
)
SELECT q.workflow_name, nullif(q.version, ''), sum(r.due), min(r.oldest), bool_or(r.more)
FROM queue AS q
CROSS JOIN (VALUES (false), (true)) AS s (begun)
CROSS JOIN LATERAL (
    SELECT
        least(count(*), $3::integer) AS due, min(available_at) AS oldest,
        count(*) > $3::integer AS more
    FROM (
        SELECT available_at
        FROM {schema}.workflow_runs AS r
        WHERE namespace_id = $1 AND workflow_name = q.workflow_name
            AND coalesce(r.version, '') = q.version AND (status <> 'pending') = s.begun
            AND available_at <= now()
            AND worker_id IS NULL AND status IN ('pending', 'running', 'sleeping')
        ORDER BY available_at NULLS FIRST
        LIMIT $3::integer + 1
    ) AS due
) AS r
WHERE r.due > 0
GROUP BY q.workflow_name, q.version
ORDER BY 4
