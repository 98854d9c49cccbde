-- Make other starts with the same idempotency key wait for the end of this transaction.
--
-- Called by: clients, ClientQueries.start, before start_with_key. $1 the text that identifies the
-- key; every implementation that shares the database must hash the same text.
--
-- Index: none. Locks: an advisory lock, to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended($1, 0))
