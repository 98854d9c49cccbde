-- Return which attempt has written an entry of the audit table.
--
-- Called by: the dashboard, AuditQueries.intend. $1 namespace, $2 id.
--
-- Index: owsuper_audit_pkey. Locks: none.
SELECT attempt FROM {schema}.owsuper_audit WHERE namespace_id = $1 AND id = $2
