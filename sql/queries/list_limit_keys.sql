-- The keys of a limit for which something waits, or has a place.
--
-- Called by: clients, LimitReads.keys. $1 namespace, $2 the limit, $3 the most keys, $4 the most rows
-- that are counted of one key, $5 the key after which to begin; NULL at the beginning.
-- Returns (key, places that are held, runs and steps that wait, since when the first of these waits), in
-- the order of the keys.
--
-- Index: owsuper_lanes_pkey, owsuper_holds_key_idx, owsuper_waiting_lane_idx, owsuper_turns_limit_idx. Locks: none.
WITH lane AS MATERIALIZED (
    SELECT key
    FROM {schema}.owsuper_lanes
    WHERE namespace_id = $1 AND limit_name = $2 AND ($5::text IS NULL OR key > $5::text)
    GROUP BY namespace_id, limit_name, key
    ORDER BY namespace_id, limit_name, key
    LIMIT $3::integer
),
hold AS MATERIALIZED (
    SELECT key
    FROM {schema}.owsuper_holds
    WHERE namespace_id = $1 AND limit_name = $2 AND ($5::text IS NULL OR key > $5::text)
    GROUP BY namespace_id, limit_name, key
    ORDER BY namespace_id, limit_name, key
    LIMIT $3::integer
),
turn AS MATERIALIZED (
    SELECT key
    FROM {schema}.owsuper_turns
    WHERE namespace_id = $1 AND limit_name = $2 AND ($5::text IS NULL OR key > $5::text)
    GROUP BY namespace_id, limit_name, key
    ORDER BY namespace_id, limit_name, key
    LIMIT $3::integer
),
seen AS MATERIALIZED (
    SELECT key FROM lane UNION SELECT key FROM hold UNION SELECT key FROM turn
    ORDER BY key
    LIMIT $3::integer
)
SELECT s.key, h.held, w.waiting, w.since
FROM seen AS s
CROSS JOIN LATERAL (
    SELECT count(*) AS held
    FROM (
        SELECT
        FROM {schema}.owsuper_holds
        WHERE namespace_id = $1 AND limit_name = $2 AND key = s.key
        LIMIT $4::integer
    ) AS counted
) AS h
CROSS JOIN LATERAL (
    SELECT count(*) AS waiting, min(due) AS since
    FROM (
        SELECT due
        FROM {schema}.owsuper_waiting
        WHERE namespace_id = $1 AND limit_name = $2 AND key = s.key
        UNION ALL
        SELECT since
        FROM {schema}.owsuper_turns
        WHERE namespace_id = $1 AND limit_name = $2 AND key = s.key
        LIMIT $4::integer
    ) AS counted
) AS w
ORDER BY s.key
