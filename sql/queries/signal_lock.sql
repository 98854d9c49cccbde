-- Make other senders of these signals, and new waits for them, wait for the end of this
-- transaction.
--
-- Called by: children and clients, before send_signal and before commit_related.
-- $1 namespace, $2 names of the signals (JSON array), $3 the lock time-out, for the rest of the
-- transaction as well.
-- Returns one row.
--
-- Index: none. Locks: advisory locks, to the end of the transaction.
SELECT (count(pg_advisory_xact_lock(
    hashtextextended(concat('owsuper:signal:', $1::text, ':', s.name), 0)
)) > 0)::text
FROM (
    SELECT name FROM json_array_elements_text($2::json) AS name ORDER BY name COLLATE "C"
) AS s
WHERE (SELECT set_config('lock_timeout', $3::text, true)) = $3::text
