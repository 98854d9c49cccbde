-- Resume a paused schedule. Without effect on one that is not paused.
--
-- Called by: clients, ScheduleStore.resume. $1 namespace, $2 name, $3 its next tick (NULL: there is
-- none). A schedule that was removed from the code has none.
--
-- Index: owsuper_schedules_pkey. Locks: the schedule.
UPDATE {schema}.owsuper_schedules
SET paused_at = NULL,
    next_at = CASE WHEN removed_at IS NULL THEN $3::timestamptz END,
    updated_at = now()
WHERE namespace_id = $1 AND name = $2 AND paused_at IS NOT NULL
