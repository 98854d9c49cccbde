-- Store the schedules that the code of a worker declares, and retire those that it no longer declares.
--
-- Called by: the supervisor, ScheduleDuty, when it connects, after a reload, and once a minute if a
-- schedule is declared in code.
-- $1 namespace, $2 schedules (JSON array, by name), $3 modules of the worker (empty: it retires none),
-- $4 seconds after which a declaration that nobody confirms gives way.
-- Returns (name, what became of it): created, changed, returned, kept, removed, outdated (newer code
-- declares it differently, or no longer), by hand (somebody made a schedule of this name).
--
-- A declaration is newer than another if the database has first seen it later. A worker of older code
-- that starts again changes nothing, as long as a worker confirms what is newer; what is newer counts at
-- once, also when it returns. Not to declare a schedule is a declaration, too: its fingerprint is an empty
-- text.
-- Paused schedules stay paused. What a schedule has still to do changes only with its times.
--
-- Index: owsuper_schedules_pkey, owsuper_schedules_declared_idx. Locks: the schedules, in the order of
-- their names. For the form of the conditions, and for ON CONFLICT, see commit.
WITH given AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS g (
        name text, workflow_name text, version text, cron text, every double precision,
        timezone text, start timestamptz, "end" timestamptz, jitter double precision,
        catch_up text, catch_up_limit integer, overlap text, takes_tick boolean, input jsonb,
        config jsonb, next_at timestamptz, fingerprint text
    )
),
asked AS MATERIALIZED (
    SELECT name
    FROM (
        SELECT name FROM given
        UNION
        SELECT name
        FROM {schema}.owsuper_schedules
        WHERE namespace_id = $1 AND declared_in IS NOT NULL AND declared_in = $3 AND $3 <> ''
    ) AS a
    ORDER BY name
),
known AS MATERIALIZED (
    SELECT s.*
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT *
        FROM {schema}.owsuper_schedules
        WHERE namespace_id = $1 AND name >= a.name AND name <= a.name
        ORDER BY name
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS s
),
judged AS MATERIALIZED (
    SELECT
        k.*, g.name AS declared,
        CASE
            WHEN k.declared_in IS NULL THEN 'by hand'
            WHEN coalesce(g.fingerprint, '') = k.fingerprint THEN 'kept'
            WHEN (k.declarations ->> coalesce(g.fingerprint, ''))::timestamptz
                    <= (k.declarations ->> k.fingerprint)::timestamptz
                AND k.confirmed_at >= now() - $4::double precision * interval '1 second'
                THEN 'outdated'
            WHEN g.name IS NULL THEN 'removed'
            WHEN k.removed_at IS NOT NULL THEN 'returned'
            ELSE 'changed'
        END AS verdict
    FROM known AS k
    LEFT JOIN given AS g ON g.name = k.name
),
kept AS (
    INSERT INTO {schema}.owsuper_schedules (
        namespace_id, name, workflow_name, timezone, jitter_seconds, catch_up, catch_up_limit,
        overlap, takes_tick
    )
    SELECT $1, name, '', '', 0, '', 0, '', false FROM judged WHERE verdict = 'kept'
    ON CONFLICT (namespace_id, name) DO UPDATE
    SET confirmed_at = now()
),
removed AS (
    INSERT INTO {schema}.owsuper_schedules (
        namespace_id, name, workflow_name, timezone, jitter_seconds, catch_up, catch_up_limit,
        overlap, takes_tick, declarations
    )
    SELECT $1, name, '', '', 0, '', 0, '', false, jsonb_build_object('', now()) || declarations
    FROM judged
    WHERE verdict = 'removed'
    ON CONFLICT (namespace_id, name) DO UPDATE
    SET removed_at = now(), next_at = NULL, queued = '{}', fingerprint = '', confirmed_at = now(),
        declarations = excluded.declarations, updated_at = now()
),
changed AS (
    INSERT INTO {schema}.owsuper_schedules (
        namespace_id, name, workflow_name, version, cron, every_seconds, timezone, starts_at,
        ends_at, jitter_seconds, catch_up, catch_up_limit, overlap, takes_tick, input, config,
        next_at, fingerprint, declarations
    )
    SELECT
        $1, g.name, g.workflow_name, g.version, g.cron, g.every, g.timezone, g.start, g."end",
        g.jitter, g.catch_up, g.catch_up_limit, g.overlap, g.takes_tick, g.input,
        coalesce(g.config, '{}'),
        CASE
            WHEN j.removed_at IS NULL AND (
                j.cron, j.every_seconds, j.timezone, j.starts_at, j.ends_at
            ) IS NOT DISTINCT FROM (g.cron, g.every, g.timezone, g.start, g."end") THEN j.next_at
            ELSE g.next_at
        END,
        g.fingerprint, jsonb_build_object(g.fingerprint, now()) || j.declarations
    FROM judged AS j
    JOIN given AS g ON g.name = j.name
    WHERE j.verdict IN ('changed', 'returned')
    ON CONFLICT (namespace_id, name) DO UPDATE
    SET workflow_name = excluded.workflow_name, version = excluded.version, cron = excluded.cron,
        every_seconds = excluded.every_seconds, timezone = excluded.timezone,
        starts_at = excluded.starts_at, ends_at = excluded.ends_at,
        jitter_seconds = excluded.jitter_seconds, catch_up = excluded.catch_up,
        catch_up_limit = excluded.catch_up_limit, overlap = excluded.overlap,
        takes_tick = excluded.takes_tick, input = excluded.input, config = excluded.config,
        next_at = excluded.next_at, removed_at = NULL, declared_in = $3,
        fingerprint = excluded.fingerprint, confirmed_at = now(),
        declarations = excluded.declarations, updated_at = now()
),
created AS (
    INSERT INTO {schema}.owsuper_schedules (
        namespace_id, name, workflow_name, version, cron, every_seconds, timezone, starts_at,
        ends_at, jitter_seconds, catch_up, catch_up_limit, overlap, takes_tick, input, config,
        next_at, declared_in, fingerprint, declarations, confirmed_at
    )
    SELECT
        $1, name, workflow_name, version, cron, every, timezone, start, "end", jitter, catch_up,
        catch_up_limit, overlap, takes_tick, input, coalesce(config, '{}'), next_at, $3, fingerprint,
        jsonb_build_object(fingerprint, now()), now()
    FROM given
    WHERE name NOT IN (SELECT name FROM known)
    ORDER BY name
    ON CONFLICT (namespace_id, name) DO NOTHING
    RETURNING name
)
SELECT name, verdict FROM judged WHERE declared IS NOT NULL OR verdict <> 'outdated'
UNION ALL
SELECT name, 'created' FROM created
