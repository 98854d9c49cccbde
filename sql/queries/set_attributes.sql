-- Set attributes of runs, or remove them.
--
-- Called by: children, RunStore.commit and RelatedStore.adopt, in one transaction with the statement
-- that has checked the claims and locked the runs.
-- $1 namespace, $2 attributes (JSON array: run, name, value; a value of null removes; those of a run
-- that is "new" are stored if this transaction has started it).
-- Returns nothing.
--
-- Index: owsuper_run_attributes_pkey, workflow_runs_pkey. Attributes are deleted by their place in
-- the table (ctid), which does not change while the run is locked.
-- Locks: the attributes; their runs are locked already. For the form of the conditions see commit.
WITH asked AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS a (run text, name text, value text, new boolean)
    ORDER BY run, name
),
removed AS (
    DELETE FROM {schema}.owsuper_run_attributes
    WHERE ctid = ANY (ARRAY(
        SELECT o.place
        FROM asked AS a
        CROSS JOIN LATERAL (
            SELECT ctid AS place, name
            FROM {schema}.owsuper_run_attributes
            WHERE namespace_id = $1 AND workflow_run_id >= a.run AND workflow_run_id <= a.run
            ORDER BY workflow_run_id, name
            OFFSET 0
        ) AS o
        WHERE a.value IS NULL AND o.name = a.name
    ))
)
INSERT INTO {schema}.owsuper_run_attributes (
    namespace_id, workflow_run_id, name, value, run_created_at
)
SELECT $1, a.run, a.name, a.value, r.created_at
FROM asked AS a
CROSS JOIN LATERAL (
    SELECT created_at, xmin AS started_by
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= a.run AND id <= a.run
    ORDER BY id
    LIMIT 1
) AS r
WHERE a.value IS NOT NULL
    AND (a.new IS NOT TRUE OR r.started_by = pg_current_xact_id()::xid)
ON CONFLICT (namespace_id, workflow_run_id, name) DO UPDATE
SET value = excluded.value
