-- The limit for which a run waits, and what is before it.
--
-- Called by: clients, LimitReads.of_run. $1 namespace, $2 run id, $3 the most rows that are counted.
-- Returns (limit, its kind, amount and seconds, key, due time, places held for this key, runs that are
-- before it, when the next may begin); no row if the run waits for no limit. Runs of one due time stand
-- in the index in the order of their places in the table.
--
-- Index: owsuper_waiting_pkey, owsuper_limits_pkey, owsuper_waiting_lane_idx, owsuper_holds_key_idx,
-- owsuper_lanes_pkey. Locks: none.
SELECT
    w.limit_name, l.kind, coalesce(l.set_amount, l.amount), l.period, w.key, w.due,
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM {schema}.owsuper_holds AS h
            WHERE h.namespace_id = $1 AND h.limit_name = w.limit_name AND h.key = w.key
            LIMIT $3::integer
        ) AS held
    ),
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM {schema}.owsuper_waiting AS o
            WHERE o.namespace_id = $1 AND o.limit_name = w.limit_name AND o.key = w.key
                AND (o.due < w.due OR o.due = w.due AND o.ctid < w.ctid)
            LIMIT $3::integer
        ) AS ahead
    ),
    (
        SELECT min(t.next_at)
        FROM {schema}.owsuper_lanes AS t
        WHERE t.namespace_id = $1 AND t.limit_name = w.limit_name AND t.key = w.key
    )
FROM {schema}.owsuper_waiting AS w
JOIN {schema}.owsuper_limits AS l ON l.namespace_id = w.namespace_id AND l.name = w.limit_name
WHERE w.namespace_id = $1 AND w.workflow_run_id = $2
