-- "run": one row if there is such a run, to tell a run without rows from one that does not exist.
--
-- Needs: $1 namespace, $2 run id.
-- Index: workflow_runs_pkey.
-- For the form of the condition see commit.
(
    SELECT id
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
) AS run
