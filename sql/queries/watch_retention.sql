-- Become the one supervisor that deletes old runs of a namespace, until the session ends.
--
-- Called by: a supervisor with --retain, PruneQueries.watch, every 5 s until it succeeds; not behind a
-- connection pooler, where no session lasts. $1 namespace.
-- Returns one row: 'true', or 'false' while another supervisor is the one.
--
-- Index: none. Locks: an advisory lock of the session, never waited for.
SELECT pg_try_advisory_lock(hashtextextended('owsuper:retention:{schema}:' || $1, 0))::text
