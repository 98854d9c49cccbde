-- The input of the first run of a chain: of the run itself, or of that which continued as it.
--
-- Called by: children, RunStore.load_first_input. $1 namespace, $2 run id.
--
-- Index: workflow_runs_pkey. Locks: none.
-- For the form of the conditions see commit.
SELECT f.input::text
FROM (
    SELECT coalesce(context ->> 'firstRun', id) AS first
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
) AS r
CROSS JOIN LATERAL (
    SELECT input
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= r.first AND id <= r.first
    ORDER BY id
    LIMIT 1
) AS f
