-- Start a run, unless one was started with the same idempotency key lately.
--
-- Called by: clients, ClientQueries.start, in one transaction with start_lock.
-- $1 namespace, $2 run (JSON array of one), $3 workflow name, $4 idempotency key, $5 how many seconds
-- ago a run may have been started: 24 hours, as in every implementation, or more if the caller asks.
-- Returns the id of the run with this key.
--
-- Index: that of fragments/found_by_key. Locks: none.
WITH {fragments/found_by_key},
started AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, idempotency_key, config, context,
        input, attempts, available_at, deadline_at, created_at, updated_at
    )
    SELECT
        $1, id, name, version, 'pending', key, '{}', context, input,
        0, coalesce(available, now()), deadline, date_trunc('milliseconds', now()), now()
    FROM json_to_recordset($2::json) AS a (
        id text, name text, version text, key text, context jsonb, input jsonb,
        available timestamptz, deadline timestamptz
    )
    WHERE NOT EXISTS (SELECT FROM found)
    RETURNING id
)
SELECT id FROM found UNION ALL SELECT id FROM started
