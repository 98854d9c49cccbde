-- INSERT of new runs that may have options of their own, without its end.
--
-- Needs: $1 namespace, $2 runs (JSON array).
-- Index: none; this reads no table.
INSERT INTO {schema}.workflow_runs (
    namespace_id, id, workflow_name, version, status, idempotency_key, config, context, input,
    attempts, available_at, deadline_at, created_at, updated_at
)
SELECT
    $1, id, name, version, 'pending', key, coalesce(config, '{}'), context, input,
    0, coalesce(available, {fragments/due_by_priority}), deadline,
    date_trunc('milliseconds', now()), now()
FROM json_to_recordset($2::json) AS a (
    id text, name text, version text, key text, context jsonb, config jsonb, input jsonb,
    available timestamptz, deadline timestamptz
)
