-- The number after that of the newest transaction that writes, in all databases of the server: as
-- long as it stays the same, nothing has changed.
--
-- Called by: the dashboard, ChangeQueries.newest_transaction.
--
-- The snapshot of a replica does not name the transactions that are in progress, so their ends do not
-- always change it. There, the place up to which it has followed its primary tells more.
--
-- Index: none; this reads no table. Locks: none.
SELECT
    pg_snapshot_xmax(pg_current_snapshot())::text, pg_current_snapshot()::text,
    pg_last_wal_replay_lsn()::text
