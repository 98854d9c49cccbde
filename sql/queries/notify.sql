-- Send a notification: to learn whether notifications arrive, to pass one on, or to ask for stacks.
--
-- Called by: the supervisor, ClaimQueries.notify; clients, WorkerQueries.ask_for_stacks. $1 channel, $2 payload.
-- The flush to disk is skipped, so that other transactions that notify need not wait for it.
--
-- Index: none. Locks: none.
SELECT pg_notify($1, $2)
WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
