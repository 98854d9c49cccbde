-- List entries of the audit table, the newest first, each with the sum of its answers.
--
-- Called by: the dashboard and owsuper audit, AuditQueries.entries. $1 namespace; $2 time and $3 id
-- of the entry before, infinity and empty for the first page; $4 the most entries.
--
-- Index: owsuper_audit_asked_at_idx, owsuper_audit_outcomes_pkey. Locks: none.
SELECT
    e.id, e.asked_at, e.user_name, e.address, e.action, e.target::text, e.arguments::text,
    o.done, o.refused, o.answered_at, o.details::text
FROM (
    SELECT *
    FROM {schema}.owsuper_audit
    WHERE namespace_id = $1 AND (asked_at, id) < ($2::timestamptz, $3::text)
    ORDER BY asked_at DESC, id DESC
    LIMIT $4
) AS e
{fragments/audit_outcome}
ORDER BY e.asked_at DESC, e.id DESC
