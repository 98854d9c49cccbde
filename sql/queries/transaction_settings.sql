-- Read settings of this transaction.
--
-- Called by: clients, ClientQueries.transaction_settings, in a transaction of the caller's.
-- Returns one row: the isolation level and the lock time-out.
--
-- Index: none. Locks: none.
SELECT current_setting('transaction_isolation'), current_setting('lock_timeout')
