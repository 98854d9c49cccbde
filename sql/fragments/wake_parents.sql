-- CTEs "awaited", "wake_up" and "woken": the parents of the runs in "ended" that are parked at the
-- step attempt that waits for the child run are due: at once if they wait for no other child run,
-- else soon. See migration waiting_parents.
--
-- Needs: ended (run), whose rows are locked; parent (child, step, run).
-- Index: step_attempts_pkey, workflow_runs_pkey, owsuper_child_waits_idx.
-- Locks: the step attempts of the parents, FOR NO KEY UPDATE, because their link to the child run
-- may be younger than the snapshot of the statement; then the parents that are due earlier than
-- they were, or may soon be, in id order.
awaited AS (
    SELECT p.run, array_agg(p.child) AS ended
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
    GROUP BY p.run
),
wake_up AS MATERIALIZED (
    SELECT run, {schema}.owsuper_wake_time($1, run, ended) AS at
    FROM (SELECT run, ended FROM awaited ORDER BY run) AS a
    WHERE run <> ALL (ARRAY(SELECT run FROM ended))
),
woken AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at,
        available_at
    )
    SELECT $1, run, '', '', '{}', 0, now(), now(), at
    FROM wake_up
    WHERE at IS NOT NULL
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET available_at = excluded.available_at, updated_at = excluded.updated_at
    WHERE (r.status = 'sleeping' OR (r.status = 'running' AND r.worker_id IS NULL))
        AND (r.available_at IS NULL OR excluded.available_at < r.available_at)
)
