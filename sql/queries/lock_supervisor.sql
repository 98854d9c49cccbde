-- Hold the lock of a supervisor that is dead, for as long as its children live: see presence.
--
-- Called by: the template, db.presence.lock_supervisor.
-- $1 id of the supervisor.
-- Returns one row, an empty text, when the server has noticed the death, and has ended the last
-- statement of the supervisor, which may be a claim. Fails if that takes longer than some seconds.
--
-- Index: none. Locks: the advisory lock of the supervisor, until the session ends.
SELECT pg_advisory_lock(hashtextextended('owsuper:supervisor:' || $1, 0))::text
WHERE (SELECT set_config('lock_timeout', '5s', true)) = '5s'
