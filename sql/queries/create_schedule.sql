-- Make a schedule by hand, unless there is one of this name.
--
-- Called by: clients, ScheduleStore.create. $1 namespace, $2 the schedule (JSON object, as for
-- declare_schedules), $3 whether it is paused.
-- Returns one row if there is such a schedule now, made by hand and equal: true. So it may be repeated.
--
-- Index: owsuper_schedules_pkey. Locks: a schedule of this name.
INSERT INTO {schema}.owsuper_schedules AS s (
    namespace_id, name, workflow_name, version, cron, every_seconds, timezone, starts_at, ends_at,
    jitter_seconds, catch_up, catch_up_limit, overlap, takes_tick, input, config, next_at,
    fingerprint, paused_at
)
SELECT
    $1, name, workflow_name, version, cron, every, timezone, start, "end", jitter, catch_up,
    catch_up_limit, overlap, takes_tick, input, coalesce(config, '{}'), next_at, fingerprint,
    CASE WHEN $3::boolean THEN now() END
FROM json_to_record($2::json) AS g (
    name text, workflow_name text, version text, cron text, every double precision, timezone text,
    start timestamptz, "end" timestamptz, jitter double precision, catch_up text,
    catch_up_limit integer, overlap text, takes_tick boolean, input jsonb, config jsonb, next_at timestamptz,
    fingerprint text
)
ON CONFLICT (namespace_id, name) DO UPDATE
SET updated_at = s.updated_at
WHERE s.declared_in IS NULL AND s.fingerprint = excluded.fingerprint
RETURNING true
