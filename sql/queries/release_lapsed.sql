-- Release runs whose lease ran out: their worker is dead, or was cut off for too long.
--
-- Called by: the supervisor, SweepQueries.release_lapsed, on a timer, while it has free slots.
-- $1 namespace, $2 workflows (JSON array), $3 how many runs at most, $4 the end of the lease to
-- scan from, $5 seconds before now to scan from, if that is earlier.
-- Returns first a row about the scan: a JSON object with whether there may be more ("more"), where
-- the next scan may begin ("since") and the seconds of the scan ("took"). Then the id of each run.
-- The runs are due now, and claimed like others.
-- The flush to disk is skipped: if a server crash loses this, the leases have still run out.
--
-- For the beginning of a scan see claim. The margin before it is longer here: runs that are locked
-- now, perhaps by the last write of their owner, are scanned again only within the margin.
--
-- Index: workflow_runs_status_available_at_created_at_idx, in its order, which no other index has;
-- it reads the runs that became due since the beginning of the scan.
-- Locks: the runs, FOR NO KEY UPDATE; locked rows are skipped.
-- For ON CONFLICT see commit.
WITH start AS MATERIALIZED (
    SELECT
        least($4::timestamptz, now() - $5::double precision * interval '1 second') AS since
),
known AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS w (name text, version text)
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
),
lapsed AS MATERIALIZED (
    SELECT r.id
    FROM (VALUES ('running'), ('sleeping')) AS s (status)
    CROSS JOIN LATERAL (
        SELECT id
        FROM {schema}.workflow_runs AS r
        WHERE namespace_id = $1 AND status = s.status
            AND available_at >= (SELECT since FROM start) AND available_at <= now()
            AND worker_id IS NOT NULL
            AND (
                SELECT true
                FROM known AS k
                WHERE k.name = r.workflow_name AND k.version IS NOT DISTINCT FROM r.version
                LIMIT 1
            )
        ORDER BY available_at, created_at
        LIMIT $3::integer
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
),
released AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}', 0, now(), now() FROM lapsed
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET worker_id = NULL, available_at = now(), updated_at = now()
)
SELECT json_build_object(
    'more', t.count >= $3::integer,
    'since', CASE
        WHEN t.count >= $3::integer THEN (SELECT since FROM start)
        ELSE now() - interval '2 s'
    END,
    'took', extract(epoch FROM t.at - statement_timestamp())
)::text
FROM (SELECT count(*), clock_timestamp() AS at FROM lapsed) AS t
UNION ALL
SELECT id FROM lapsed
