-- The workflows that are paused.
--
-- Called by: the supervisor after every connect, when it is told that there is a change, and from
-- time to time if it cannot be told; clients, PauseQueries.all. $1 namespace.
-- Returns (name, since, by, reason) of each, by name.
--
-- Index: owsuper_paused_workflows_pkey. Locks: none.
SELECT workflow_name, paused_at, paused_by, reason
FROM {schema}.owsuper_paused_workflows
WHERE namespace_id = $1
ORDER BY workflow_name
