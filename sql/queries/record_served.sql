-- Note which workflows a supervisor serves, for people.
--
-- Called by: the supervisor, PresenceQueries.record_served, when its application is loaded and after each
-- connect. $1 namespace, $2 id of the supervisor, $3 workflows (JSON array of [name, version]).
-- Returns one row: the id.
-- The flush to disk is skipped, as for register_supervisor.
--
-- Index: owsuper_supervisors_pkey. Locks: the supervisor's row.
UPDATE {schema}.owsuper_supervisors
SET workflows = $3::jsonb
WHERE namespace_id = $1 AND id = $2
    AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING id
