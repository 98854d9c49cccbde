-- Find the schedules that are due, and when the next one is.
--
-- Called by: the supervisor, ScheduleDuty, when it connects, when a schedule is due, when a client has
-- changed one, and once a minute.
-- $1 namespace, $2 how many schedules to return at most, $3 names of schedules to leave out, because
-- this host cannot tell when they are due (JSON array).
-- Returns one row: now, the seconds until the next tick (NULL if none is to come), whether a tick waits
-- in a queue, whether a schedule is declared in code, the due schedules, and those with a tick in their
-- queue that may fire (JSON arrays).
--
-- Index: the partial indexes of owsuper_schedules, workflow_runs_pkey. Locks: none.
SELECT
    now(),
    (
        SELECT extract(epoch FROM min(next_at) - now())::double precision
        FROM {schema}.owsuper_schedules
        WHERE namespace_id = $1 AND paused_at IS NULL AND removed_at IS NULL
            AND next_at IS NOT NULL
            AND name <> ALL (ARRAY(SELECT json_array_elements_text($3::json)))
    ),
    EXISTS (
        SELECT FROM {schema}.owsuper_schedules
        WHERE namespace_id = $1 AND queued <> '{}' AND paused_at IS NULL AND removed_at IS NULL
    ),
    EXISTS (
        SELECT FROM {schema}.owsuper_schedules
        WHERE namespace_id = $1 AND declared_in IS NOT NULL
    ),
    (
        SELECT coalesce(json_agg(d), '[]')
        FROM (
            SELECT
                name, workflow_name, cron, every_seconds AS every, timezone, starts_at AS start,
                ends_at AS "end", jitter_seconds AS jitter, catch_up, catch_up_limit, next_at AS at,
                false AS queued
            FROM {schema}.owsuper_schedules
            WHERE namespace_id = $1 AND paused_at IS NULL AND removed_at IS NULL
                AND next_at IS NOT NULL AND next_at <= now()
                AND name <> ALL (ARRAY(SELECT json_array_elements_text($3::json)))
            ORDER BY next_at
            LIMIT $2::integer
        ) AS d
    ),
    (
        SELECT coalesce(json_agg(q), '[]')
        FROM (
            SELECT
                name, workflow_name, cron, every_seconds AS every, timezone, starts_at AS start,
                ends_at AS "end", jitter_seconds AS jitter, catch_up, catch_up_limit,
                queued[1] AS at, true AS queued
            FROM {schema}.owsuper_schedules AS s
            WHERE namespace_id = $1 AND queued <> '{}' AND paused_at IS NULL
                AND removed_at IS NULL
                AND NOT EXISTS (
                    WITH RECURSIVE latest AS (
                        SELECT unnest(s.open_runs) AS run
                        UNION ALL
                        SELECT r.successor
                        FROM latest AS l
                        CROSS JOIN LATERAL (
                            SELECT context ->> 'continuedAs' AS successor
                            FROM {schema}.workflow_runs
                            WHERE namespace_id = $1 AND id >= l.run AND id <= l.run
                            ORDER BY id
                            LIMIT 1
                        ) AS r
                        WHERE r.successor IS NOT NULL
                    )
                    SELECT
                    FROM latest AS o
                    CROSS JOIN LATERAL (
                        SELECT status
                        FROM {schema}.workflow_runs
                        WHERE namespace_id = $1 AND id >= o.run AND id <= o.run
                        ORDER BY id
                        LIMIT 1
                    ) AS r
                    WHERE r.status IN ('pending', 'running', 'sleeping')
                )
            LIMIT $2::integer
        ) AS q
    )
