-- A run without its input and output, which may be large, and with its error unless that is.
--
-- Called by: the dashboard, RunPageQueries.run. $1 namespace, $2 run id, $3 the most bytes that the
-- error may take where it is stored.
-- The columns are those of fragments/run_columns.
--
-- Index: workflow_runs_pkey; those of fragments/run_links and attributes_of_run. Locks: none.
-- For the form of the conditions see commit.
SELECT
    r.id, r.workflow_name, r.version, r.status, r.attempts, r.idempotency_key, NULL, NULL,
    CASE WHEN pg_column_size(r.error) <= $3::integer THEN r.error::text END,
    r.worker_id, r.available_at, r.deadline_at, r.created_at, r.started_at, r.finished_at,
    r.updated_at, least(r.started_at, f.began_at), p.workflow_run_id, p.step_name,
    r.context ->> 'continuedFrom', r.context ->> 'continuedAs', r.context ->> 'rerunOf',
    r.context ->> 'rerunAs', r.config -> 'owsuper' ->> 'priority',
    {fragments/attributes_of_run},
    r.context ->> 'undoOf', r.context ->> 'undoneBy'
FROM (
    SELECT *
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
) AS r
{fragments/run_links}
