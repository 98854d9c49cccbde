-- Claim due runs of workflows with limits (migration 0030): each gets a worker id of its own and a
-- lease.
--
-- Called by: the supervisor, ClaimQueries.claim_limited, in turn with claim.
-- $1 namespace, $2 workflows (JSON array), $3 how many runs at most, $4 prefix of the worker ids,
-- $5 lease in seconds, $6 whether the claims must survive a server crash, $7 whether a begun run
-- comes before a new one, $8 and $9 the due time to scan from, for new runs and for begun runs,
-- $10 seconds before now to scan from, if that is earlier, $11 whether to tell how long the runs were
-- due.
-- Returns what claim returns. "next" is also the time at which a rate lets the next run begin. The
-- claim is complete if it was quiet when it began: its later statements see what committed before.
--
-- Runs that are due are taken from the queues, and wait in owsuper_waiting, each for one limit and key.
-- Of new runs, these are the oldest, 1,000 in all or 40 of each queue, and a quarter as many of the
-- latest. What waits for a key, of one workflow and version, is a lane. The lanes have turns: each gives
-- one run, if its limit has room, and goes to the end. A run with several limits waits for them one
-- after the other.
--
-- Index: owsuper_runs_queue_idx, in its order; workflow_runs_pkey; owsuper_lanes_turn_idx,
-- owsuper_waiting_lane_idx and owsuper_holds_key_idx; the primary keys of those tables. What it reads
-- grows with the runs that it sorts and claims, and with the lanes that had a turn, but not with those
-- that wait.
-- Locks: the advisory lock of the limits of the namespace; if another session has it, nothing is
-- claimed, and "next" is 5 ms. The runs, FOR NO KEY UPDATE; locked rows are skipped.
SELECT
    coalesce(
        c.about,
        json_build_object(
            'run', (c.run).id,
            'name', (c.run).workflow_name,
            'version', (c.run).version,
            'worker', (c.run).worker_id,
            'attempts', (c.run).attempts,
            'stored', (c.run).input IS NOT NULL AND (octet_length(i.text) <= 65536) IS NOT TRUE,
            'created', (c.run).created_at,
            'started', (c.run).started_at,
            'claimed', now(),
            'deadline', (c.run).deadline_at,
            'trace', CASE
                WHEN octet_length(((c.run).context -> 'traceContext')::text) <= 16384
                THEN (c.run).context -> 'traceContext'
            END,
            'suspect', (c.run).attempts > 1 AND EXISTS (
                SELECT FROM {schema}.owsuper_crashes
                WHERE namespace_id = $1 AND workflow_run_id = (c.run).id
            )
        )
    )::text,
    CASE WHEN octet_length(i.text) <= 65536 THEN i.text END
FROM {schema}.owsuper_claim_limited(
    $1, $2::json, $3::integer, $4, $5::double precision, $7::boolean,
    $8::timestamptz, $9::timestamptz, $10::double precision, 1000, $11::boolean
) AS c
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_column_size((c.run).input) <= 65536 THEN (c.run).input::text END AS text
    OFFSET 0
) AS i
WHERE $6::boolean OR (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
