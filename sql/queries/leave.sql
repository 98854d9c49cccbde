-- Forget a supervisor that stops.
--
-- Called by: the supervisor, PresenceQueries.leave, when its last child has ended.
-- $1 namespace, $2 id of the supervisor. Returns one row: the id.
-- The flush to disk is skipped: a row that a server crash brings back is deleted by others.
--
-- Index: owsuper_supervisors_pkey. Locks: the supervisor's row.
DELETE FROM {schema}.owsuper_supervisors
WHERE namespace_id = $1 AND id = $2
    AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING id
