-- Note that a step of an ended run is undone already, so that the run that undoes it leaves it out.
--
-- Called by: clients, ClientQueries.skip_undo, in one transaction with retry_lock, which locks the run.
-- $1 namespace, $2 id of the run that undoes the other, $3 the step of the other run, $4 id for a step
-- attempt, $5 its context (JSON).
-- Returns the status of the run, its workflow, the run that undoes it, whether this attempt was stored
-- before, whether the undo is finished or skipped, and the steps whose undos are left (JSON array, the
-- one to undo next first). Unless the run has failed and the undo is left, nothing is written. No row
-- if there is no such run. May be repeated.
--
-- Index: workflow_runs_pkey, step_attempts_workflow_run_created_at_idx.
-- Locks: the run is locked already. For the form of the conditions see commit.
WITH asked AS MATERIALIZED (
    SELECT id, status, workflow_name, context ->> 'undoneBy' AS undone, context ->> 'undoOf' AS other
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
),
done AS MATERIALIZED (
    SELECT s.id, s.step_name
    FROM (
        SELECT id, step_name, status
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = $2
        ORDER BY created_at
        OFFSET 0
    ) AS s
    WHERE s.status IN ('completed', 'succeeded')
),
remaining AS MATERIALIZED (
    SELECT s.step_name, s.finished_at
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT step_name, status, context, finished_at
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = a.other
        ORDER BY created_at
        OFFSET 0
    ) AS s
    WHERE s.status IN ('completed', 'succeeded') AND s.context @> '{"undo": true}'
        AND 'undo ' || s.step_name NOT IN (SELECT step_name FROM done)
),
skipped AS (
    INSERT INTO {schema}.step_attempts (
        namespace_id, id, workflow_run_id, step_name, kind, status, config, context,
        started_at, finished_at, created_at, updated_at
    )
    SELECT
        $1, $4, a.id, 'undo ' || $3::text, 'function', 'completed', '{}', $5::jsonb,
        now(), now(), date_trunc('milliseconds', now()), now()
    FROM asked AS a
    WHERE a.status = 'failed' AND EXISTS (SELECT FROM remaining WHERE step_name = $3::text)
)
SELECT
    status, workflow_name, undone,
    EXISTS (SELECT FROM done WHERE id = $4),
    EXISTS (SELECT FROM done WHERE step_name = 'undo ' || $3::text),
    coalesce(
        (SELECT json_agg(step_name ORDER BY finished_at DESC, step_name) FROM remaining), '[]'
    )::text
FROM asked
