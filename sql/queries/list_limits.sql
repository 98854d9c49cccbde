-- The limits of a namespace, with the number of runs and steps that wait for each, and of runs that
-- hold a place. The workflows are those with the limit, and those whose steps use it.
--
-- Called by: clients, LimitReads.all. $1 namespace, $2 the name of one limit; NULL for all, $3 the
-- most rows that are counted of one limit.
--
-- Index: owsuper_limits_pkey, owsuper_limit_workflows_limit_idx, owsuper_limit_steps_pkey,
-- owsuper_waiting_lane_idx, owsuper_turns_limit_idx, owsuper_holds_key_idx. Locks: none.
SELECT
    l.name, l.kind, coalesce(l.set_amount, l.amount), l.amount, l.period, l.burst,
    array_to_string(l.path, '.'), l.keyed, l.hold,
    ARRAY(
        SELECT u.workflow_name
        FROM {schema}.owsuper_limit_workflows AS u
        WHERE u.namespace_id = $1 AND u.limit_name = l.name
        UNION
        SELECT s.workflow_name
        FROM {schema}.owsuper_limit_steps AS s
        WHERE s.namespace_id = $1 AND s.limit_name = l.name
        ORDER BY workflow_name
    ),
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM {schema}.owsuper_holds AS h
            WHERE h.namespace_id = $1 AND h.limit_name = l.name
            LIMIT $3::integer
        ) AS held
    ),
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM {schema}.owsuper_waiting AS w
            WHERE w.namespace_id = $1 AND w.limit_name = l.name
            UNION ALL
            SELECT
            FROM {schema}.owsuper_turns AS t
            WHERE t.namespace_id = $1 AND t.limit_name = l.name
            LIMIT $3::integer
        ) AS waiting
    )
FROM {schema}.owsuper_limits AS l
WHERE l.namespace_id = $1 AND ($2::text IS NULL OR l.name = $2::text)
ORDER BY l.name
