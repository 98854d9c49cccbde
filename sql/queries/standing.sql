-- What the row of a run does not say about why it is not running.
--
-- Called by: clients, WorkerQueries.standing. $1 namespace, $2 run id.
-- Returns one row: the present time, and the number of crashes that are counted of the run. A run
-- with one is a suspect (see claim).
--
-- Index: owsuper_crashes_pkey. Locks: none.
SELECT now(), (
    SELECT count(*)
    FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id = $2
)
