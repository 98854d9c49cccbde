-- The state of runs, and the results of ended runs.
--
-- Called by: clients that wait for results, Waits.read. $1 namespace, $2 run ids.
-- Returns a row for each run that exists. The last columns are for how many seconds the run has been
-- due without an owner, NULL if it has one or is not due; and the successor of a run that continued
-- as new.
--
-- Index: workflow_runs_pkey. Locks: none.
SELECT
    id, workflow_name, version, status, output::text, error::text,
    CASE
        WHEN worker_id IS NULL AND available_at <= now()
            AND status IN ('pending', 'running', 'sleeping')
        THEN extract(epoch FROM now() - available_at)::double precision
    END,
    context ->> 'continuedAs'
FROM {schema}.workflow_runs
WHERE namespace_id = $1 AND id = ANY ($2::text[])
