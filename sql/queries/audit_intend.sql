-- Add an entry to the audit table, before its action; delete some entries that are too old.
--
-- Called by: the dashboard, AuditQueries.intend, in one transaction with audit_attempt.
-- $1 namespace, $2 id, $3 attempt, $4 user or NULL, $5 address or NULL, $6 action, $7 target (JSON),
-- $8 arguments (JSON) or NULL, $9 days for which entries are kept.
--
-- Index: owsuper_audit_pkey, owsuper_audit_asked_at_idx.
-- Locks: the entries that it deletes.
WITH forgotten AS (
    DELETE FROM {schema}.owsuper_audit
    WHERE namespace_id = $1 AND id = ANY (ARRAY(
        SELECT id
        FROM {schema}.owsuper_audit
        WHERE namespace_id = $1 AND asked_at < now() - make_interval(days => $9::integer)
        ORDER BY asked_at
        LIMIT 100
        FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO {schema}.owsuper_audit (
    namespace_id, id, attempt, user_name, address, action, target, arguments
)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb)
ON CONFLICT (namespace_id, id) DO NOTHING
