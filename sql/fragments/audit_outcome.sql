-- "o": the sum of the answers to an entry of the audit table, and what the last one says.
--
-- Needs: $1 namespace; e, a row of owsuper_audit.
-- Index: owsuper_audit_outcomes_pkey.
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(done), 0)::integer AS done,
        coalesce(sum(refused), 0)::integer AS refused,
        max(answered_at) FILTER (WHERE is_last) AS answered_at,
        (array_agg(details) FILTER (WHERE is_last))[1] AS details
    FROM {schema}.owsuper_audit_outcomes
    WHERE namespace_id = $1 AND audit_id = e.id
) AS o
