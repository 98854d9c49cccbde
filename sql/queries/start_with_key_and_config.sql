-- Start a run with options of its own, unless one was started with the same key lately.
--
-- Called by: clients, ClientQueries.start, in one transaction with start_lock.
-- $1 namespace, $2 run (JSON array of one), $3 workflow name, $4 idempotency key, $5 how many seconds
-- ago a run may have been started: 24 hours, as in every implementation, or more if the caller asks.
-- Returns the id of the run with this key.
--
-- Index: that of fragments/found_by_key. Locks: none.
WITH {fragments/found_by_key},
started AS (
    {fragments/new_runs}
    WHERE NOT EXISTS (SELECT FROM found)
    RETURNING id
)
SELECT id FROM found UNION ALL SELECT id FROM started
