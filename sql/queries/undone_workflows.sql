-- The workflows of which some run was ever undone.
--
-- Called by: the supervisor, ClaimQueries.undone_workflows: when it connects, when it is told that
-- there is another one, and from time to time if it cannot be told. $1 namespace.
-- Returns (name, version) of each, perhaps several times.
--
-- Index: owsuper_undone_workflows_pkey. Locks: none.
SELECT workflow_name, CASE WHEN has_version THEN version END
FROM {schema}.owsuper_undone_workflows
WHERE namespace_id = $1
