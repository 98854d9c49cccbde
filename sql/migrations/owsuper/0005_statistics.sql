-- Let the planner know from the first day that few namespaces hold many rows.
--
-- Without statistics, all indexes that begin with namespace_id seem equally good to find a row
-- by namespace and id, as every foreign key check does, and the plan made then is kept by the
-- connection that made it: each check goes through the runs of the whole namespace until
-- autovacuum has its first look at the tables. So give it something to look at for a moment.
-- Tables that hold anything are left alone; they have their statistics or soon will.
DO $block$
BEGIN
    LOCK TABLE {schema}.workflow_runs, {schema}.step_attempts IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM {schema}.workflow_runs) OR EXISTS (SELECT FROM {schema}.step_attempts)
    THEN
        RETURN;
    END IF;
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT
        'default', gen_random_uuid(), 'w' || n % 10, 'completed', '{}', 1,
        now() + n * interval '1 s', now()
    FROM generate_series(1, 100) AS n;
    INSERT INTO {schema}.step_attempts (
        namespace_id, id, workflow_run_id, step_name, kind, status, config, created_at, updated_at
    )
    SELECT
        'default', gen_random_uuid(), id, 's' || n, 'function', 'completed', '{}',
        created_at + n * interval '1 s', now()
    FROM {schema}.workflow_runs, generate_series(1, 3) AS n;
    ANALYZE {schema}.workflow_runs, {schema}.step_attempts;
    -- Unlike DELETE, this forgets how small they are.
    TRUNCATE {schema}.workflow_runs, {schema}.step_attempts;
EXCEPTION
    WHEN feature_not_supported THEN
        NULL; -- a table of somebody else's refers to ours: TRUNCATE will not, and that is fine
END
$block$;
