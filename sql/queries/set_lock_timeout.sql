-- Set the lock time-out of this transaction.
--
-- Called by: clients, ClientQueries.set_lock_timeout, after send_signal in a transaction of the
-- caller's. $1 the time-out, as transaction_settings returns it. Returns one row.
--
-- Index: none. Locks: none.
SELECT set_config('lock_timeout', $1::text, true)
