-- Find the supervisors whose lock nobody holds: they are dead, or have lost their connection.
--
-- Needs: $1 namespace, $2 id of the supervisor that asks. Gives: id, host, pid of each.
-- Index: owsuper_supervisors_pkey; it reads one row for each supervisor.
-- Locks: the advisory locks of the missing supervisors, until the statement ends. A supervisor that
-- reconnects meanwhile waits for that.
SELECT id, host, pid::text
FROM {schema}.owsuper_supervisors
WHERE namespace_id = $1 AND id <> $2 AND NOT pooled
    AND pg_try_advisory_xact_lock(hashtextextended('owsuper:supervisor:' || id, 0))
