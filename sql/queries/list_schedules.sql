-- List schedules by name, each with the present time.
--
-- Called by: clients, ScheduleStore.page and get. $1 namespace, $2 name of one schedule (NULL: all), $3
-- the name after which to begin (NULL: at the beginning), $4 the most schedules (NULL: all).
-- Returns at least one row: the time, then the columns of a schedule, which are NULL if there is none.
--
-- Index: owsuper_schedules_pkey. Locks: none.
SELECT
    now(), s.name, s.workflow_name, s.version, s.cron, s.every_seconds, s.timezone, s.starts_at,
    s.ends_at, s.jitter_seconds, s.catch_up, s.catch_up_limit, s.overlap, s.takes_tick,
    s.input::text, s.next_at, s.previous_at, s.queued, s.paused_at, s.removed_at, s.declared_in,
    s.confirmed_at, s.created_at, s.updated_at
FROM (SELECT) AS one
LEFT JOIN LATERAL (
    SELECT *
    FROM {schema}.owsuper_schedules
    WHERE namespace_id = $1 AND name >= coalesce($2::text, $3::text, '')
        AND ($2::text IS NULL OR name <= $2::text) AND ($3::text IS NULL OR name > $3::text)
    ORDER BY namespace_id, name
    LIMIT $4::bigint
) AS s ON true
ORDER BY s.name
