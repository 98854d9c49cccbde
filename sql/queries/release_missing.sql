-- Release what a missing supervisor held: the runs that it had claimed and no child has begun.
--
-- Called by: the supervisor, PresenceQueries.release_missing, some time after other_supervisors
-- has found the other supervisor; see supervisor/presence.py for the reasons.
-- $1 namespace, $2 id of the missing supervisor.
-- Returns the ids of the runs, which are due now. Deletes the row of the supervisor. Does nothing
-- if the supervisor is back.
-- A run with an attempt of a function that runs, or that began or ended since the claim, is in a
-- child that may still live. It keeps its lease.
-- The flush to disk is skipped: if a server crash loses this, the leases run out.
--
-- Index: workflow_runs_status_available_at_created_at_idx, in its order, which no other index has:
-- the runs that are leased, or parked for less than a lease;
-- step_attempts_workflow_run_created_at_idx.
-- Locks: the advisory lock of the missing supervisor, until the statement ends; the runs, FOR NO
-- KEY UPDATE; locked rows are skipped.
-- For ON CONFLICT see commit.
WITH missing AS MATERIALIZED (
    SELECT id, lease_seconds
    FROM {schema}.owsuper_supervisors
    WHERE namespace_id = $1 AND id = $2
        AND pg_try_advisory_xact_lock(hashtextextended('owsuper:supervisor:' || id, 0))
        AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
),
held AS MATERIALIZED (
    SELECT r.id
    FROM missing AS m
    CROSS JOIN LATERAL (
        SELECT id
        FROM {schema}.workflow_runs AS r
        WHERE namespace_id = $1 AND status = 'running' AND starts_with(worker_id, m.id || ':')
            AND available_at > now()
            AND available_at <= now() + m.lease_seconds * interval '1 second'
            AND NOT EXISTS (
                SELECT
                FROM {schema}.step_attempts AS a
                WHERE a.namespace_id = $1 AND a.workflow_run_id = r.id AND a.kind = 'function'
                    AND (a.status = 'running' OR a.created_at >= r.updated_at
                        OR a.finished_at >= r.updated_at)
            )
        ORDER BY available_at, created_at
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
),
released AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}', 0, now(), now() FROM held
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET worker_id = NULL, available_at = now(), updated_at = now()
),
forgotten AS (
    DELETE FROM {schema}.owsuper_supervisors AS s
    USING missing AS m
    WHERE s.namespace_id = $1 AND s.id = m.id
)
SELECT id FROM held
