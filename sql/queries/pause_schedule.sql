-- Pause a schedule.
--
-- Called by: clients, ScheduleStore.pause. $1 namespace, $2 name. Returns its name; no row if there is
-- none.
--
-- Index: owsuper_schedules_pkey. Locks: the schedule.
UPDATE {schema}.owsuper_schedules
SET paused_at = coalesce(paused_at, now()), updated_at = now()
WHERE namespace_id = $1 AND name = $2
RETURNING name
