-- Send a notification, to learn whether notifications arrive.
--
-- Called by: the supervisor, ClaimQueries.self_test. $1 channel.
--
-- Index: none. Locks: none.
SELECT pg_notify($1, '')
