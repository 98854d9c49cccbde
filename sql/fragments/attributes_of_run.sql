-- The attributes of a run as a JSON object in text; NULL if it has none.
--
-- Needs: r, a row of workflow_runs. $1 namespace.
-- Index: owsuper_run_attributes_pkey. For the form of the conditions see commit.
(
    SELECT json_object_agg(o.name, o.value)::text
    FROM (
        SELECT name, value
        FROM {schema}.owsuper_run_attributes
        WHERE namespace_id = $1 AND workflow_run_id >= r.id AND workflow_run_id <= r.id
        ORDER BY workflow_run_id, name
        OFFSET 0
    ) AS o
)
