-- List the latest ticks of a schedule, the latest first.
--
-- Called by: clients, ScheduleStore.ticks. $1 namespace, $2 name of the schedule, $3 how many.
-- Returns (time of the tick, outcome, id of the run or NULL, when it was decided).
--
-- Index: owsuper_ticks_pkey. Locks: none.
SELECT at, outcome, run_id, decided_at
FROM {schema}.owsuper_ticks
WHERE namespace_id = $1 AND schedule = $2
ORDER BY at DESC
LIMIT $3::integer
