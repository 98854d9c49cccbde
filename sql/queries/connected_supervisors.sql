-- The supervisors that are connected, and the workflows that they serve.
--
-- Called by: clients that wait for a run that nobody claims, Waits.workers. $1 namespace.
-- Returns (id, workflows) of each; workflows (JSON array of [name, version]) may be NULL.
--
-- A lock that is held shows that the supervisor is connected (see register_supervisor). The lock is looked up
-- and not tried, because a client that holds it for a moment would delay a supervisor.
--
-- Index: owsuper_supervisors_pkey; it reads one row for each supervisor. Locks: none.
SELECT s.id, s.workflows
FROM (
    SELECT id, workflows, hashtextextended('owsuper:supervisor:' || id, 0) AS key
    FROM {schema}.owsuper_supervisors
    WHERE namespace_id = $1
) AS s
WHERE EXISTS (
    SELECT
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
        AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        AND l.classid::bigint = (s.key >> 32) & 4294967295
        AND l.objid::bigint = s.key & 4294967295
)
ORDER BY s.id
