-- Announce that a client waits for these runs: the transaction that ends a run then notifies.
--
-- Called by: clients that wait for results. $1 namespace, $2 run ids.
-- Returns the ids that are announced. The other runs are about to end, in a transaction that holds
-- the key until its commit: the caller must repeat this later.
--
-- Index: none. Locks: a shared advisory lock on each run's key, held by the session.
SELECT asked.id
FROM unnest($2::text[]) AS asked (id)
WHERE pg_try_advisory_lock_shared(
    hashtextextended(concat('owsuper:result:', $1::text, ':', asked.id), 0)
)
