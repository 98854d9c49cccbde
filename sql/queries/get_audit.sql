-- Return one entry of the audit table with the sum of its answers; no row if there is none.
--
-- Called by: the dashboard, AuditQueries.entry. $1 namespace, $2 id.
--
-- Index: owsuper_audit_pkey, owsuper_audit_outcomes_pkey. Locks: none.
SELECT
    e.id, e.asked_at, e.user_name, e.address, e.action, e.target::text, e.arguments::text,
    o.done, o.refused, o.answered_at, o.details::text
FROM {schema}.owsuper_audit AS e
{fragments/audit_outcome}
WHERE e.namespace_id = $1 AND e.id = $2
