-- Put a failed run back, due now; its completed steps keep their results.
--
-- Called by: clients, ClientQueries.retry, in one transaction with retry_lock.
-- $1 namespace, $2 run id.
-- Returns the status before, the deadline if it has passed, and the id of the run that undoes it.
-- With a passed deadline, if it is undone, or with any status but failed, nothing is changed. No row if
-- there is no such run.
--
-- The run looks as after a failure that is retried automatically: it keeps its error until it
-- completes. Its failed step attempts move to a table of ours, because they count as used retries of
-- their step in every implementation. Its failure is noted beside them. The failures and crashes
-- counted of the run are deleted when it fails, and here once more, because another implementation
-- may have failed it.
--
-- Index: workflow_runs_pkey, step_attempts_workflow_run_created_at_idx, the primary keys of our
-- own tables. The attempts are deleted by their place in the table (ctid), which does not change
-- while the run is locked.
-- Locks: the run and the child runs that lose their parent are locked already.
-- For the form of the conditions see commit.
WITH asked AS MATERIALIZED (
    SELECT
        id, status, finished_at, error,
        CASE WHEN deadline_at <= now() THEN deadline_at END AS missed,
        context ->> 'undoneBy' AS undone
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
),
open AS MATERIALIZED (
    SELECT id, finished_at, error FROM asked WHERE status = 'failed' AND missed IS NULL AND undone IS NULL
),
failed_step AS MATERIALIZED (
    SELECT s.place
    FROM open AS o
    CROSS JOIN LATERAL (
        SELECT ctid AS place, status
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND workflow_run_id = o.id
        ORDER BY created_at
        OFFSET 0
    ) AS s
    WHERE s.status = 'failed'
),
steps_removed AS (
    DELETE FROM {schema}.step_attempts WHERE ctid = ANY (ARRAY(SELECT place FROM failed_step))
    RETURNING *
),
steps_kept AS (
    INSERT INTO {schema}.owsuper_retried_attempts (
        namespace_id, workflow_run_id, id, step_name, kind, context, error,
        child_workflow_run_namespace_id, child_workflow_run_id, started_at, finished_at, created_at
    )
    SELECT
        namespace_id, workflow_run_id, id, step_name, kind, context, error,
        child_workflow_run_namespace_id, child_workflow_run_id, started_at, finished_at, created_at
    FROM steps_removed
),
retry_noted AS (
    INSERT INTO {schema}.owsuper_retries (namespace_id, workflow_run_id, failed_at, error)
    SELECT $1, id, finished_at, error FROM open
),
run_written AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', 'pending', '{}', 0, now(), now() FROM open
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        worker_id = NULL,
        available_at = now(),
        started_at = NULL,
        finished_at = NULL,
        updated_at = now()
),
given_up_no_longer AS (
    UPDATE {schema}.owsuper_post_mortems
    SET given_up = false
    WHERE namespace_id = $1 AND workflow_run_id >= $2 AND workflow_run_id <= $2
        AND EXISTS (SELECT FROM open)
),
failures_forgotten AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id IN (SELECT id FROM open)
),
crashes_forgotten AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id IN (SELECT id FROM open)
)
SELECT status, missed, undone FROM asked
