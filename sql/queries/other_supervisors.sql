-- Find the supervisors without a session, and those that take turns.
--
-- Called by: the supervisor, PresenceQueries.others, on a timer.
-- $1 namespace, $2 id of the supervisor that asks.
-- Returns (id, host, pid, missing, workflows, on_call, free, slots) of each other supervisor.
--
-- Index: owsuper_supervisors_pkey; it reads one row for each supervisor.
-- Locks: those of the fragment.
{fragments/other_supervisors}
