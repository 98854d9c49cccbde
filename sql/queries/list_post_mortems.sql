-- How the processes of a run died, in the order of time.
--
-- Called by: clients, ListQueries.post_mortems. $1 namespace, $2 run id.
-- A run without one gives one row of NULLs; an unknown run gives no row.
--
-- Index: workflow_runs_pkey, the primary key of our own table. Locks: none.
SELECT d.died_at, d.counted, d.evidence::text
FROM
{fragments/known_run}
LEFT JOIN {schema}.owsuper_post_mortems AS d
    ON d.namespace_id = $1 AND d.workflow_run_id = $2
ORDER BY d.died_at, d.crash_id
