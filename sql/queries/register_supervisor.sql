-- Show that a supervisor is connected: take its lock, which goes with the session, and keep its row.
--
-- Called by: the supervisor, PresenceQueries.register, after every connect.
-- $1 namespace, $2 id of the supervisor, $3 its lease in seconds, $4 its host, $5 its pid.
-- Returns one row: the id.
-- The lock is shared, because the session before a reconnect may still hold it. It is waited for
-- (see other_supervisors), but not for long. It is taken before the row is written: a row
-- without a lock would say that this supervisor is dead.
-- The flush to disk is skipped: if a server crash loses the row, the connection is lost, too.
--
-- Index: owsuper_supervisors_pkey.
-- Locks: the advisory lock of the supervisor, shared, until the session ends; its row.
WITH locked AS MATERIALIZED (
    SELECT pg_advisory_lock_shared(hashtextextended('owsuper:supervisor:' || $2, 0))
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
        AND (SELECT set_config('lock_timeout', '1s', true)) = '1s'
)
INSERT INTO {schema}.owsuper_supervisors AS s (namespace_id, id, lease_seconds, host, pid)
SELECT $1, $2, $3::double precision, $4, $5::integer
FROM locked
ON CONFLICT (namespace_id, id) DO UPDATE SET connected_at = now()
RETURNING s.id
