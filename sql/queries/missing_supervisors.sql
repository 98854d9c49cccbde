-- Find the supervisors without a session.
--
-- Called by: the supervisor, PresenceQueries.missing, on a timer.
-- $1 namespace, $2 id of the supervisor that asks.
-- Returns (id, host, pid) of each.
--
-- Index: that of the fragment. Locks: those of the fragment.
{fragments/missing_supervisors}
