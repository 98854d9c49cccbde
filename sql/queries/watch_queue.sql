-- Become the one supervisor that asks about the queues of a namespace, until the session ends.
--
-- Called by: a supervisor that serves metrics, QueueStateQueries.watch, every 5 s until it
-- succeeds; not behind a connection pooler, where no session lasts. $1 namespace.
-- Returns one row: 'true', or 'false' while another supervisor is the one.
--
-- Index: none. Locks: an advisory lock of the session, never waited for.
SELECT pg_try_advisory_lock(hashtextextended('owsuper:queue:{schema}:' || $1, 0))::text
