-- Release the locks of wait_lock.
--
-- Called by: clients that wait for results. $1 namespace, $2 run ids.
--
-- Index: none. Locks: releases the session's shared advisory locks.
SELECT pg_advisory_unlock_shared(
    hashtextextended(concat('owsuper:result:', $1::text, ':', asked.id), 0)
)
FROM unnest($2::text[]) AS asked (id)
