-- Claim due runs of the given workflows: each gets a worker id of its own and a lease.
--
-- Called by: the supervisor, ClaimQueries.claim.
-- $1 namespace, $2 workflows (JSON array), $3 how many runs at most, $4 prefix of the worker ids,
-- $5 lease in seconds, $6 whether the claims must survive a server crash, $7 whether a begun run
-- comes before a new one, $8 and $9 the due time to scan from, for new runs and for begun runs,
-- $10 seconds before now to scan from, if that is earlier, $11 whether to tell how long the runs
-- were due.
-- Returns first a row about the claim: a JSON object with the seconds until more is due ("next", 0
-- if there may be more now), that due time ("due"), whether runs are due that this claim had no room
-- for ("more"), where the next scan may begin ("new" and
-- "begun"), the seconds of the scan ("took"), for how many seconds each run was due, a year at most
-- ("waited", an object by run id, null unless $11), and what is known about transactions that made runs
-- due before this claim and did not notify (migration 0018). If the claim is "complete", it has
-- seen all of them: no transaction was in progress when it began, since none began between its
-- snapshot and its own id. If it found "quiet", the next claim sees all of them: nobody holds their
-- mark any more, but one may have committed since the snapshot of this claim. Then a row for each
-- run: a JSON header, and the input unless it is large.
--
-- New runs (pending) and begun runs (woken, released, lost by a dead worker) are claimed in turn,
-- the oldest first of each kind, so that neither kind starves. There are three scans. The first
-- reads the head of every queue and finds the queues that matter: the $3 oldest runs are in the $3
-- queues with the oldest heads. The second finds how many runs to claim from each queue. The third
-- claims them and skips runs that other sessions are claiming; the first two lock nothing.
--
-- A scan that begins at the start of a queue would read the index entries of runs that were
-- claimed before, until vacuum removes the entries. Runs are claimed in the order of their due
-- times, so the next scan may begin at the heads of the queues, less a short time for inserts
-- that are about to commit. Runs that commit later, or have a due time in the past, are found by
-- scans that begin earlier, which the caller makes from time to time.
--
-- Index: owsuper_runs_queue_idx, in its order; it reads one entry of each queue, and twice $3
-- entries of the queues that matter, and one more of each. (Only this index is ordered NULLS FIRST, so the planner can
-- choose no other.) owsuper_crashes by its primary key.
-- Locks: the runs, FOR NO KEY UPDATE; locked rows are skipped. The mark of transactions that do not
-- notify (migration 0018), for an instant.
-- For ON CONFLICT see commit.
WITH queue AS MATERIALIZED (
    SELECT
        w.name, w.version, s.begun,
        least(s.since, now() - $10::double precision * interval '1 second') AS since
    FROM json_to_recordset($2::json) AS w (name text, version text)
    CROSS JOIN (
        VALUES (false, $8::timestamptz), (true, $9::timestamptz)
    ) AS s (begun, since)
    WHERE $6::boolean OR (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
),
head AS MATERIALIZED (
    SELECT q.name, q.version, q.begun, r.available_at, r.created_at
    FROM queue AS q
    CROSS JOIN LATERAL (
        SELECT available_at, created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = q.name
            AND coalesce(version, '') = coalesce(q.version, '')
            AND version IS NOT DISTINCT FROM q.version
            AND (status <> 'pending') = q.begun AND available_at >= q.since
            AND worker_id IS NULL AND status IN ('pending', 'running', 'sleeping')
            AND (deadline_at IS NULL OR deadline_at > now())
        ORDER BY available_at NULLS FIRST
        LIMIT 1
    ) AS r
),
seen AS MATERIALIZED (
    SELECT
        h.name, h.version, h.begun, r.available_at,
        row_number() OVER (PARTITION BY h.begun ORDER BY r.available_at, r.created_at) AS place
    FROM (
        SELECT
            *, row_number() OVER (PARTITION BY begun ORDER BY available_at, created_at) AS place
        FROM head
        WHERE available_at <= now()
    ) AS h
    CROSS JOIN LATERAL (
        SELECT available_at, created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = h.name
            AND coalesce(version, '') = coalesce(h.version, '')
            AND version IS NOT DISTINCT FROM h.version
            AND (status <> 'pending') = h.begun AND available_at >= h.available_at
            AND worker_id IS NULL AND status IN ('pending', 'running', 'sleeping')
            AND (deadline_at IS NULL OR deadline_at > now())
        ORDER BY available_at NULLS FIRST
        LIMIT $3::integer + 1
    ) AS r
    WHERE h.place <= $3::integer
),
chosen AS MATERIALIZED (
    SELECT *
    FROM seen
    WHERE available_at <= now()
    ORDER BY place, begun = $7::boolean DESC
    LIMIT $3::integer
),
taken AS MATERIALIZED (
    -- A run with a priority has a due time before its creation.
    SELECT
        r.id,
        CASE
            WHEN r.config -> 'owsuper' ? 'priority' THEN greatest(r.available_at, r.created_at)
            ELSE r.available_at
        END AS due_at
    FROM (
        SELECT name, version, begun, min(available_at) AS since, count(*) AS size
        FROM chosen
        GROUP BY name, version, begun
    ) AS s
    CROSS JOIN LATERAL (
        SELECT id, available_at, created_at, config
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = s.name
            AND coalesce(version, '') = coalesce(s.version, '')
            AND version IS NOT DISTINCT FROM s.version
            AND (status <> 'pending') = s.begun
            AND available_at >= s.since AND available_at <= now()
            AND worker_id IS NULL AND status IN ('pending', 'running', 'sleeping')
            AND (deadline_at IS NULL OR deadline_at > now())
        ORDER BY available_at NULLS FIRST
        LIMIT s.size
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
),
claimed AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at,
        worker_id, available_at
    )
    SELECT
        $1, id, '', 'running', '{}', 0, now(), now(),
        $4 || gen_random_uuid(), now() + $5::double precision * interval '1 second'
    FROM taken
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        attempts = r.attempts + 1,
        worker_id = excluded.worker_id,
        available_at = excluded.available_at,
        started_at = coalesce(r.started_at, now()),
        updated_at = excluded.updated_at
    RETURNING r.*
)
SELECT
    json_build_object(
        'next', CASE
            WHEN t.count = $3::integer THEN 0
            -- Another session locks them, perhaps to claim them, perhaps not.
            WHEN t.count < (SELECT count(*) FROM chosen) THEN 0.02
            ELSE extract(epoch FROM due.at - now())
        END,
        'more', greatest(
            (SELECT count(*) FROM head WHERE available_at <= now()),
            (SELECT count(*) FROM seen WHERE available_at <= now())
        ) > (SELECT count(*) FROM chosen),
        'due', CASE
            -- The same text for all workers, whatever the time zones of their sessions.
            WHEN t.count = (SELECT count(*) FROM chosen) THEN extract(epoch FROM due.at)::text
        END,
        'complete', pg_snapshot_xmin(pg_current_snapshot())
            = coalesce(pg_current_xact_id_if_assigned(), '0'::xid8),
        'quiet', CASE
            WHEN pg_try_advisory_lock(
                '{schema}.workflow_runs'::regclass::oid::integer, hashtext($1) # 1
            )
            THEN pg_advisory_unlock(
                '{schema}.workflow_runs'::regclass::oid::integer, hashtext($1) # 1
            )
            ELSE false
        END,
        'new', (
            SELECT least(min(available_at), now() - interval '250 ms') FROM head WHERE NOT begun
        ),
        'begun', (
            SELECT least(min(available_at), now() - interval '250 ms') FROM head WHERE begun
        ),
        'took', extract(epoch FROM t.at - statement_timestamp()),
        'waited', CASE WHEN $11::boolean THEN (
            SELECT json_object_agg(
                id,
                extract(epoch FROM now() - greatest(due_at, now() - interval '1 year'))
            )
            FROM taken
        ) END
    )::text,
    NULL
FROM (SELECT count(*), clock_timestamp() AS at FROM taken) AS t
CROSS JOIN (
    SELECT min(available_at) AS at
    FROM (SELECT available_at FROM head UNION ALL SELECT available_at FROM seen) AS known
    WHERE available_at > now() AND available_at < 'infinity'
) AS due
UNION ALL
SELECT
    json_build_object(
        'run', c.id,
        'name', c.workflow_name,
        'version', c.version,
        'worker', c.worker_id,
        'attempts', c.attempts,
        'stored', c.input IS NOT NULL AND (octet_length(i.text) <= 65536) IS NOT TRUE,
        'created', c.created_at,
        'started', c.started_at,
        'claimed', now(),
        'deadline', c.deadline_at,
        'trace', CASE
            WHEN octet_length((c.context -> 'traceContext')::text) <= 16384
            THEN c.context -> 'traceContext'
        END,
        'suspect', c.attempts > 1 AND EXISTS (
            SELECT FROM {schema}.owsuper_crashes
            WHERE namespace_id = $1 AND workflow_run_id = c.id
        )
    )::text,
    CASE WHEN octet_length(i.text) <= 65536 THEN i.text END
FROM claimed AS c
CROSS JOIN LATERAL (
    -- The stored size shows that some inputs are too large, without decompressing them.
    SELECT CASE WHEN pg_column_size(c.input) <= 65536 THEN c.input::text END AS text
    OFFSET 0
) AS i
