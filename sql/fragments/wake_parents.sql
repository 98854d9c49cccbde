-- CTEs "awaited" and "woken": the parents of the runs in "ended" are due now, if they are parked
-- at the step attempt that waits for the child run.
--
-- Needs: ended (run); parent (child, step, run); locked (id, status, worker_id), which holds the
-- parents too.
-- Index: step_attempts_pkey, workflow_runs_pkey.
-- Locks: the step attempts of the parents, FOR NO KEY UPDATE, because their link to the child run
-- may be younger than the snapshot of the statement.
awaited AS (
    SELECT DISTINCT p.run
    FROM ended AS e
    JOIN parent AS p ON p.child = e.run
    CROSS JOIN LATERAL (
        SELECT kind, status, child_workflow_run_id AS child
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= p.step AND id <= p.step
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS s
    WHERE s.kind = 'workflow' AND s.status = 'running' AND s.child = p.child
),
woken AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, l.id, '', '', '{}', 0, now(), now()
    FROM awaited AS a
    JOIN locked AS l ON l.id = a.run
    WHERE (l.status = 'sleeping' OR (l.status = 'running' AND l.worker_id IS NULL))
        AND l.id <> ALL (ARRAY(SELECT run FROM ended))
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = least(r.available_at, now()), updated_at = now()
)
