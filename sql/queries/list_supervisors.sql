-- The supervisors of a namespace: what they are, do and serve, and whether they are connected.
--
-- Called by: clients, WorkerQueries.all. $1 namespace, $2 seconds after which the announcement of a
-- pooled supervisor no longer shows that it is there.
-- Returns (id, host, pid, pooled, connected_at, announced_at, now, version, workflows, status,
-- connected) of each; workflows is a JSON array of [name, version]. All that a supervisor announces
-- may be NULL.
--
-- A lock that is held shows that the supervisor is connected (see register_supervisor). The lock is
-- looked up and not tried, because a client that holds it for a moment would delay a supervisor.
--
-- Index: owsuper_supervisors_pkey; it reads one row for each supervisor. Locks: none.
SELECT
    s.id, s.host, s.pid, s.pooled, s.connected_at, s.announced_at, now(), s.version, s.workflows,
    s.status,
    CASE
        WHEN s.pooled THEN s.announced_at >= now() - $2::double precision * interval '1 second'
        ELSE EXISTS (
            SELECT
            FROM pg_catalog.pg_locks AS l
            WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
                AND l.database = (
                    SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()
                )
                AND l.classid::bigint = (s.key >> 32) & 4294967295
                AND l.objid::bigint = s.key & 4294967295
        )
    END
FROM (
    SELECT *, hashtextextended('owsuper:supervisor:' || id, 0) AS key
    FROM {schema}.owsuper_supervisors
    WHERE namespace_id = $1
) AS s
ORDER BY s.host, s.pid, s.id
