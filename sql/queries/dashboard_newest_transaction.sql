-- The number after that of the newest transaction that writes, in all databases of the server: as
-- long as it stays the same, nothing has changed.
--
-- Called by: the dashboard, ChangeQueries.newest_transaction.
--
-- Index: none; this reads no table. Locks: none.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text, pg_current_snapshot()::text
