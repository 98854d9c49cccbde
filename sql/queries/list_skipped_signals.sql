-- The signals that the steps of a run have skipped, in the order in which they did.
--
-- Called by: clients, ListQueries.skipped_signals. $1 namespace, $2 run id.
-- A run that has skipped none gives one row of NULLs; an unknown run gives no row.
--
-- Index: primary keys. Locks: none.
-- For the form of the conditions see commit.
SELECT s.id, s.step_name, d.signal, d.data::text, s.reason, s.created_at, s.skipped_at
FROM
{fragments/known_run}
LEFT JOIN (
    SELECT *
    FROM {schema}.owsuper_further_signals
    WHERE namespace_id = $1 AND workflow_run_id = $2 AND skipped_at IS NOT NULL
) AS s ON true
LEFT JOIN {schema}.workflow_signals AS d ON d.namespace_id = $1 AND d.id = s.id
ORDER BY s.skipped_at, s.id
