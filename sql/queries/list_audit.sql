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
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(done), 0)::integer AS done,
        coalesce(sum(refused), 0)::integer AS refused,
        max(answered_at) FILTER (WHERE is_last) AS answered_at,
        (array_agg(details) FILTER (WHERE is_last))[1] AS details
    FROM {schema}.owsuper_audit_outcomes
    WHERE namespace_id = $1 AND audit_id = e.id
) AS o
ORDER BY e.asked_at DESC, e.id DESC
