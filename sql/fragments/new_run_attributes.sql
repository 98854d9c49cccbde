-- INSERT of the attributes of the runs in CTE "started", without its end.
--
-- Needs: started (id, created_at); $1 namespace, $2 runs (JSON array).
-- Index: owsuper_run_attributes_pkey, for uniqueness.
INSERT INTO {schema}.owsuper_run_attributes (
    namespace_id, workflow_run_id, name, value, run_created_at
)
SELECT $1, s.id, v.key, v.value, s.created_at
FROM started AS s
JOIN json_to_recordset($2::json) AS a (id text, attributes json) ON a.id = s.id
CROSS JOIN LATERAL json_each_text(a.attributes) AS v
