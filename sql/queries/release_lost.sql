-- Release our claims whose answer was lost: the connection broke between the claim and its answer.
-- Without this, the runs wait until their leases run out.
--
-- Called by: the supervisor, ClaimQueries.release_lost, some time after a reconnect; the template of
-- a dead supervisor, db.presence.release_orphans, for the claims that no child got.
-- $1 namespace, $2 prefix of our worker ids, $3 the known worker ids (JSON array of texts), $4
-- lease in seconds.
-- Returns the ids of the runs.
-- The flush to disk is skipped: if a server crash loses this, the leases run out.
--
-- Index: workflow_runs_status_available_at_created_at_idx, in its order, which no other index has:
-- the runs that are leased, or parked for less than a lease.
-- Locks: the runs, FOR NO KEY UPDATE; locked rows are skipped.
-- For ON CONFLICT see commit.
WITH known AS MATERIALIZED (
    SELECT worker
    FROM json_array_elements_text($3::json) AS k (worker)
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
),
lost AS MATERIALIZED (
    SELECT id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND status = 'running' AND starts_with(worker_id, $2)
        AND available_at > now()
        AND available_at <= now() + $4::double precision * interval '1 second'
        AND worker_id NOT IN (SELECT worker FROM known)
    ORDER BY available_at, created_at
    FOR NO KEY UPDATE SKIP LOCKED
),
released AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}', 0, now(), now() FROM lost
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET worker_id = NULL, available_at = now(), updated_at = now()
)
SELECT id FROM lost
