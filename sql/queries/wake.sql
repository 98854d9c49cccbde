-- End the waits of a run that no worker has, as if their times had come, and make the run due.
--
-- Called by: clients, ClientQueries.wake, in one transaction with wake_lock.
-- $1 namespace, $2 run id, $3 the step whose wait to end; NULL for all of them.
-- Returns one row: the status, whether a worker has the run, whether it was due, whether it waits for
-- a limit, the steps whose waits are ended, all steps that wait, and the child runs that they wait for
-- (JSON arrays). No row if there is no such run. A wait for a limit does not end: such a run is due in
-- the year 9999.
--
-- The end of a wait stands in the context of its step, where workers of every implementation read
-- it: a sleep is over, and a wait for a signal times out unless one has arrived. The end of a pause
-- before a retry is not stored; "retryAt" in the error of the failed attempt takes its place. A wait
-- for a child run does not end, and a run that waits for nothing else stays as it is. (A failed step
-- without a success may also be one that the code has given up, so it does not count unless the run
-- waits to be retried, or the step is named.)
--
-- Index: workflow_runs_pkey, step_attempts_workflow_run_created_at_idx, step_attempts_pkey.
-- Locks: the run and its waits for signals are locked already; its other steps, which only the owner
-- of the run writes.
-- For the form of the conditions see commit.
WITH run AS MATERIALIZED (
    SELECT
        id, status, worker_id, available_at,
        to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
),
attempt AS MATERIALIZED (
    SELECT s.*, r.id AS run, r.at
    FROM run AS r
    CROSS JOIN LATERAL (
        SELECT id, step_name, kind, status, context, error, child_workflow_run_id AS child
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = r.id
        ORDER BY created_at
        OFFSET 0
    ) AS s
    WHERE r.status IN ('pending', 'running', 'sleeping') AND r.worker_id IS NULL
),
wait AS MATERIALIZED (
    SELECT *, kind <> 'workflow' AND ($3::text IS NULL OR step_name = $3::text) AS ends
    FROM attempt
    WHERE status = 'running' AND kind IN ('sleep', 'signal-wait', 'workflow')
        OR status = 'failed' AND kind = 'function'
            AND coalesce(jsonb_typeof(error), 'object') = 'object'
            AND (step_name IN (
                SELECT step_name FROM attempt WHERE status IN ('completed', 'succeeded')
            )) IS NOT TRUE
),
written AS (
    INSERT INTO {schema}.step_attempts (
        namespace_id, id, workflow_run_id, step_name, kind, status, config, created_at, updated_at,
        context, error
    )
    SELECT
        $1, id, run, '', kind, status, '{}', now(), now(),
        CASE kind
            WHEN 'sleep' THEN
                coalesce(context, '{}') || jsonb_build_object('kind', 'sleep', 'resumeAt', at)
            WHEN 'signal-wait' THEN
                coalesce(context, '{}') || jsonb_build_object('kind', kind, 'timeoutAt', at)
            ELSE context
        END,
        CASE status
            WHEN 'failed' THEN coalesce(error, '{}') || jsonb_build_object('retryAt', at)
            ELSE error
        END
    FROM wait
    WHERE ends
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET context = excluded.context, error = excluded.error, updated_at = excluded.updated_at
),
woken AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', '', '{}', 0, now(), now()
    FROM run
    WHERE status IN ('pending', 'running', 'sleeping') AND worker_id IS NULL
        AND (available_at > now()) IS NOT FALSE
        AND available_at IS DISTINCT FROM '9999-01-01 00:00:00+00'
        AND (
            EXISTS (SELECT FROM wait WHERE ends AND (status = 'running' OR $3::text IS NOT NULL))
            OR $3::text IS NULL AND (status = 'pending' OR NOT EXISTS (SELECT FROM wait))
        )
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = now(), updated_at = now()
)
SELECT
    status, worker_id IS NOT NULL, coalesce(available_at <= now(), false),
    worker_id IS NULL AND coalesce(available_at = '9999-01-01 00:00:00+00', false),
    coalesce((
        SELECT json_agg(step_name)
        FROM wait
        WHERE ends AND (status = 'running' OR $3::text IS NOT NULL)
    ), '[]')::text,
    coalesce((SELECT json_agg(step_name) FROM wait WHERE status = 'running'), '[]')::text,
    coalesce((SELECT json_agg(child) FROM wait WHERE child IS NOT NULL), '[]')::text
FROM run
