-- A run, in full.
--
-- Called by: clients, ClientQueries.get_run. $1 namespace, $2 run id.
--
-- Index: workflow_runs_pkey; those of fragments/run_links. Locks: none.
SELECT
{fragments/run_columns}
FROM (
    SELECT *
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
) AS r
{fragments/run_links}
