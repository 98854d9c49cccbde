-- The limits for which steps of a run wait.
--
-- Called by: clients, LimitReads.turns_of_run. $1 namespace, $2 run id, $3 the most rows.
-- Returns (step, limit, its amount and seconds, key, since when it waits, until when), the next one to
-- begin first.
--
-- Index: owsuper_turns_pkey, owsuper_limits_pkey. Locks: none.
SELECT t.step_name, t.limit_name, coalesce(l.set_amount, l.amount), l.period, t.key, t.since, t.at
FROM {schema}.owsuper_turns AS t
JOIN {schema}.owsuper_limits AS l ON l.namespace_id = t.namespace_id AND l.name = t.limit_name
WHERE t.namespace_id = $1 AND t.workflow_run_id = $2
ORDER BY t.at
LIMIT $3::integer
