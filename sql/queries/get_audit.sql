-- Return one entry of the audit table with the sum of its answers; no row if there is none.
--
-- Called by: the dashboard, AuditQueries.entry. $1 namespace, $2 id.
--
-- Index: owsuper_audit_pkey, owsuper_audit_outcomes_pkey. Locks: none.
SELECT
    e.id, e.asked_at, e.user_name, e.address, e.action, e.target::text, e.arguments::text,
    o.done, o.refused, o.answered_at, o.details::text
FROM {schema}.owsuper_audit AS e
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(done), 0)::integer AS done,
        coalesce(sum(refused), 0)::integer AS refused,
        max(answered_at) FILTER (WHERE is_last) AS answered_at,
        (array_agg(details) FILTER (WHERE is_last))[1] AS details
    FROM {schema}.owsuper_audit_outcomes
    WHERE namespace_id = $1 AND audit_id = e.id
) AS o
WHERE e.namespace_id = $1 AND e.id = $2
