-- Say which database this is.
--
-- Called by: clients and children, KnownConnections.query, on connections of the caller and of ours.
-- Returns one row: a text that no other database has, and that changes with a restart of the
-- server; the name of the database.
--
-- Index: none. Locks: none.
SELECT
    concat(extract(epoch FROM pg_postmaster_start_time())::text, '/', oid::text),
    datname::text
FROM pg_database
WHERE datname = current_database()
