-- Add an answer to an entry of the audit table. Without effect if it was added before.
--
-- Called by: the dashboard, AuditQueries.answer. $1 namespace, $2 id of the entry, $3 number of the
-- answer, $4 whether it is the last one, $5 how many runs obeyed, $6 how many refused, $7 details
-- (JSON).
--
-- Index: the primary keys. Locks: the entry, FOR KEY SHARE, by its foreign key.
INSERT INTO {schema}.owsuper_audit_outcomes (
    namespace_id, audit_id, number, is_last, done, refused, details
)
VALUES ($1, $2, $3::integer, $4::boolean, $5::integer, $6::integer, $7::jsonb)
ON CONFLICT (namespace_id, audit_id, number) DO NOTHING
