-- Whether a run has all attributes in CTE "wanted".
--
-- Needs: wanted (name, value); c, a row of workflow_runs. $1 namespace.
-- Index: owsuper_run_attributes_pkey. For the form of the conditions see commit.
(
    SELECT count(*)
    FROM wanted AS w
    WHERE w.value IS DISTINCT FROM (
        SELECT o.value
        FROM (
            SELECT name, value
            FROM {schema}.owsuper_run_attributes
            WHERE namespace_id = $1 AND workflow_run_id >= c.id AND workflow_run_id <= c.id
            ORDER BY workflow_run_id, name
            OFFSET 0
        ) AS o
        WHERE o.name = w.name
    )
) = 0
