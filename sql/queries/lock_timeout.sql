-- Read the lock time-out of this transaction.
--
-- Called by: clients, ClientQueries.lock_timeout, before signal_lock in a transaction of the caller's.
-- Returns one row.
--
-- Index: none. Locks: none.
SELECT current_setting('lock_timeout')
