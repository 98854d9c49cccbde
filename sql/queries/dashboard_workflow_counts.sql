-- How many runs of some workflows have each status, counted up to a bound; and how many of them were
-- created lately.
--
-- Called by: the dashboard, WorkflowLists.statistics. $1 namespace, $2 workflow names (array), $3 the
-- first time of creation that counts as lately, $4 the bound for the number of a status.
-- Returns (name, status, runs, lately, since) for each name and possible status. A number of runs
-- above the bound is one more than it. "lately" counts the runs created at "since" or later: the same
-- time for all statuses of a workflow, so that their proportions are right. It is after $3 if more
-- runs of one status than the bound were created since then.
--
-- Index: workflow_runs_workflow_name_status_created_at_desc_idx, in its order, which no other index
-- has, and as a rule without the rows. Locks: none.
WITH known AS MATERIALIZED (
    SELECT w.name, s.status, r.first, r.count
    FROM unnest($2::text[]) AS w (name)
    CROSS JOIN (
        VALUES
            ('pending'), ('running'), ('sleeping'), ('completed'), ('succeeded'), ('failed'),
            ('canceled')
    ) AS s (status)
    CROSS JOIN LATERAL (
        SELECT count(*), CASE WHEN count(*) > $4::integer THEN min(created_at) END AS first
        FROM (
            SELECT created_at
            FROM {schema}.workflow_runs
            WHERE namespace_id = $1 AND workflow_name = w.name AND status = s.status
            ORDER BY created_at DESC
            LIMIT $4::integer + 1
        ) AS newest
    ) AS r
),
since AS MATERIALIZED (
    SELECT name, greatest($3::timestamptz, max(first)) AS at
    FROM known
    GROUP BY name
)
SELECT k.name, k.status, k.count, r.count, f.at
FROM known AS k
JOIN since AS f USING (name)
CROSS JOIN LATERAL (
    SELECT count(*)
    FROM (
        SELECT created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = k.name AND status = k.status
            AND created_at >= f.at
        ORDER BY created_at DESC
        LIMIT $4::integer + 1
    ) AS lately
) AS r
