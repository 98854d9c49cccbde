-- A page of the step attempts in "found" that wait for a signal.
--
-- A wait of an ended run is over, and so is one whose signal has arrived: the run is due.
--
-- Needs: found (id, workflow_run_id, step_name, context, created_at, began_at), edge (at); $1 to $5
-- and $7 as in dashboard_signal_waits. Returns the columns of db.dashboard.signal_waits.AwaitedSignal, and at.
-- There is one row, with an id of NULL, if no wait is on the page.
-- Index: workflow_signals_step_attempt_idx, workflow_runs_pkey.
-- For the form of the conditions see commit.
page AS MATERIALIZED (
    SELECT
        f.id, f.created_at, f.step_name, f.began_at, f.workflow_run_id AS run,
        left(f.context ->> 'signal', 1000) AS signal, f.context ->> 'timeoutAt' AS timeout,
        r.workflow_name, r.version, r.created_at AS run_created_at, r.deadline_at,
        row_number() OVER (
            ORDER BY
                CASE WHEN $5::boolean THEN f.created_at END, CASE WHEN $5::boolean THEN f.id END,
                f.created_at DESC, f.id DESC
        ) AS number
    FROM found AS f
    CROSS JOIN LATERAL (
        SELECT workflow_name, version, status, created_at, deadline_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= f.workflow_run_id AND id <= f.workflow_run_id
        ORDER BY id
        LIMIT 1
    ) AS r
    WHERE CASE
            WHEN $5::boolean THEN (f.created_at, f.id) > ($2::timestamptz, $3::text)
            ELSE (f.created_at, f.id) < ($2::timestamptz, $3::text)
        END
        AND r.status IN ('pending', 'running', 'sleeping')
        AND ($7::text IS NULL OR r.workflow_name = $7)
        AND (
            SELECT id
            FROM {schema}.workflow_signals
            WHERE namespace_id = $1 AND step_attempt_id >= f.id AND step_attempt_id <= f.id
            ORDER BY step_attempt_id
            LIMIT 1
        ) IS NULL
    ORDER BY number
    LIMIT $4::integer
)
SELECT
    n.id, n.created_at, n.step_name, n.began_at, n.run, n.signal, n.timeout, n.workflow_name,
    n.version, n.run_created_at, n.deadline_at, e.at, e.id
FROM edge AS e
LEFT JOIN page AS n ON true
ORDER BY n.number
