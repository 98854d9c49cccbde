-- List the answers of one entry of the audit table, in their order.
--
-- Called by: the dashboard, AuditQueries.answers. $1 namespace, $2 id of the entry.
--
-- Index: owsuper_audit_outcomes_pkey. Locks: none.
SELECT number, answered_at, is_last, done, refused, details::text
FROM {schema}.owsuper_audit_outcomes
WHERE namespace_id = $1 AND audit_id = $2
ORDER BY number
