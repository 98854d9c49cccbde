-- As dashboard_signal_waits, of the steps that wait for one signal.
--
-- Called by: the dashboard, WaitLists.page, with a signal. $1 to $8 and the result as in
-- dashboard_signal_waits.
--
-- All waits for the signal are read for each page, up to $6. If there are more, the last two columns
-- are not NULL, and the result is not to be used: dashboard_signal_waits then finds them fast.
--
-- Index: step_attempts_signal_wait_idx; those of fragments/dashboard_waits. Locks: none.
WITH found AS MATERIALIZED (
    SELECT
        id, workflow_run_id, step_name, context, created_at,
        coalesce(started_at, created_at) AS began_at
    FROM {schema}.step_attempts
    WHERE namespace_id = $1 AND kind = 'signal-wait' AND status = 'running'
        AND (context ->> 'signal') = $8
    LIMIT $6::integer
),
edge AS MATERIALIZED (
    SELECT
        CASE WHEN count(*) = $6::integer THEN min(created_at) END AS at,
        CASE WHEN count(*) = $6::integer THEN min(id) END AS id
    FROM found
),
{fragments/dashboard_waits}
