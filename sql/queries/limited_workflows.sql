-- Find which workflows have limits.
--
-- Called by: the supervisor, ClaimQueries.limited_workflows, after every connect, after a reload, and
-- when limits have changed. $1 namespace, $2 names of workflows (JSON array of strings).
-- Returns (workflow, limit) for each limit of these workflows.
--
-- Index: owsuper_limit_workflows_pkey. Locks: none.
SELECT u.workflow_name, u.limit_name
FROM json_array_elements_text($2::json) AS w (name)
CROSS JOIN LATERAL (
    SELECT workflow_name, limit_name
    FROM {schema}.owsuper_limit_workflows
    WHERE namespace_id = $1 AND workflow_name >= w.name AND workflow_name <= w.name
    ORDER BY workflow_name, limit_name
    OFFSET 0
) AS u
