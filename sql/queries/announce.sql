-- Say what a supervisor is and does, and find the supervisors without a session.
--
-- Called by: the supervisor, PresenceQueries.announce, every few seconds in the place of
-- other_supervisors. $1 namespace, $2 id of the supervisor, $3 its lease in seconds (0 if pooled),
-- $4 its host, $5 its pid, $6 whether it is behind a connection pooler, $7 its version,
-- $8 workflows (JSON array of [name, version]), $9 status (JSON object), $10 seconds after which the
-- row of a pooled supervisor is stale.
-- Returns (id, host, pid, missing, workflows, on_call, free, slots) of the other supervisors, as
-- other_supervisors does; for a supervisor that is pooled, none is missing.
-- Deletes stale rows of pooled supervisors.
-- The flush to disk is skipped, as for register_supervisor.
--
-- Index: owsuper_supervisors_pkey; it reads one row for each supervisor.
-- Locks: the supervisor's row, stale rows, and those of the fragment.
WITH announced AS (
    INSERT INTO {schema}.owsuper_supervisors AS s (
        namespace_id, id, lease_seconds, host, pid, pooled, version, workflows, status, announced_at
    )
    SELECT
        $1, $2, $3::double precision, $4, $5::integer, $6::boolean, $7, $8::jsonb, $9::jsonb, now()
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET lease_seconds = excluded.lease_seconds,
        pooled = excluded.pooled,
        version = excluded.version,
        workflows = excluded.workflows,
        status = excluded.status,
        announced_at = excluded.announced_at
),
stale AS (
    DELETE FROM {schema}.owsuper_supervisors
    WHERE namespace_id = $1 AND pooled AND id <> $2
        AND announced_at < now() - $10::double precision * interval '1 second'
)
SELECT
    o.id, o.host, o.pid, o.missing AND NOT $6::boolean, o.workflows, o.on_call, o.free, o.slots
FROM (
    {fragments/other_supervisors}
) AS o
