-- Give a run that has not begun its last input, and begin its delay anew.
--
-- Called by: clients, ConflictQueries.debounce, in one transaction with find_conflicts. $1 namespace,
-- $2 run id, $3 the delay in seconds, $4 the run (JSON array of one, as for start).
-- Returns the id; no row if the run has begun meanwhile. A run that waits for a place already keeps
-- its turn. If it has another key for some limit now, it is due, so that the next claim looks where it
-- has to wait.
--
-- Index: workflow_runs_pkey. Locks: the run, FOR NO KEY UPDATE.
-- For the form of the conditions see commit.
WITH locked AS MATERIALIZED (
    SELECT id, status, attempts, worker_id, config, available_at
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
    FOR NO KEY UPDATE
)
INSERT INTO {schema}.workflow_runs AS r (
    namespace_id, id, workflow_name, status, attempts, created_at, updated_at, input, config,
    available_at
)
SELECT
    $1, l.id, '', '', 0, now(), now(), a.input,
    l.config || jsonb_build_object(
        'owsuper', coalesce(l.config -> 'owsuper', '{}') || (a.config -> 'owsuper')
    ),
    CASE
        WHEN l.available_at >= '9999-01-01 00:00:00+00'
            AND l.config #> '{owsuper,keys}' IS NOT DISTINCT FROM a.config #> '{owsuper,keys}'
            THEN l.available_at
        WHEN l.available_at >= '9999-01-01 00:00:00+00' THEN now()
        ELSE now() + $3::double precision * interval '1 second'
    END
FROM locked AS l
CROSS JOIN json_to_recordset($4::json) AS a (input jsonb, config jsonb)
WHERE l.status = 'pending' AND l.attempts = 0 AND l.worker_id IS NULL
ON CONFLICT (namespace_id, id) DO UPDATE
SET input = excluded.input,
    config = excluded.config,
    available_at = excluded.available_at,
    updated_at = excluded.updated_at
RETURNING r.id
