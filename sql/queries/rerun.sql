-- Start a run that repeats a run that has ended, from one of its steps on.
--
-- Called by: clients, ClientQueries.rerun, in one transaction with rerun_lock.
-- $1 namespace, $2 run id, $3 the step from which to repeat; NULL from the beginning, $4 the new run
-- (JSON object: id, input, whether the input is another one, and the context with a trace carrier;
-- without a context, the new run has the carrier of the other).
-- Returns one row: the status of the run, whether it has such a step, the names of its steps (JSON
-- array), its workflow and its version, the id of the run that undoes it, and a step to keep that the run
-- itself has undone later. If it has not ended, has no such step, or undoes another run, nothing is
-- written; nor if it is undone, or such a step is, unless it is repeated from the beginning. No row if
-- there is no such run. May be repeated: a new run that exists is left alone.
--
-- The steps that began before the first attempt of the step keep their attempts, as copies with
-- their times. Waits that are open go on: the child run gets the copy as its parent, and a signal
-- that was not read yet is delivered to the copy. With another input, a copy does not say any more
-- what its child run was for: nothing is compared then.
--
-- The new run has the attributes of the run.
--
-- The copies have no undos: what their steps have done belongs to the other run.
--
-- A run with a history is no new one for workers: so attempts, the number of claims, begins at 1.
--
-- Index: workflow_runs_pkey, step_attempts_workflow_run_created_at_idx,
-- workflow_signals_step_attempt_idx, owsuper_run_attributes_pkey.
-- Locks: the run and the child runs that get another parent are locked already.
-- For the form of the conditions see commit.
WITH source AS MATERIALIZED (
    SELECT id, workflow_name, version, status, input, config, context
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
),
attempt AS MATERIALIZED (
    SELECT n.*, min(n.place) OVER (PARTITION BY n.step_name) AS began
    FROM (
        SELECT s.*, row_number() OVER (ORDER BY s.created_at, s.started_at, s.id) AS place
        FROM (
            SELECT *
            FROM {schema}.step_attempts
            WHERE namespace_id = $1 AND workflow_run_id = $2
            ORDER BY created_at
            OFFSET 0
        ) AS s
    ) AS n
),
began AS MATERIALIZED (
    SELECT step_name, min(place) AS place FROM attempt GROUP BY step_name
),
origin AS MATERIALIZED (
    SELECT place FROM began WHERE step_name = $3::text
),
undone_step AS MATERIALIZED (
    SELECT step_name
    FROM attempt
    WHERE context @> '{"undo": true}' AND began < (SELECT place FROM origin)
        -- Not as a join, which might compare all attempts with all: the server does not know how many
        -- there are.
        AND ('undo ' || step_name IN (
            SELECT step_name FROM began WHERE place >= (SELECT place FROM origin)
        )) IS TRUE
    ORDER BY place
    LIMIT 1
),
asked AS MATERIALIZED (
    SELECT n.*
    FROM json_to_record($4::json) AS n (id text, context jsonb, input jsonb, given boolean)
    WHERE (
        SELECT id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= n.id AND id <= n.id
        ORDER BY id
        LIMIT 1
    ) IS NULL
),
new AS MATERIALIZED (
    SELECT
        a.id, a.given, s.id AS source, s.workflow_name, s.version, s.context,
        CASE
            WHEN s.config @> '{"owsuper": {"undo": true}}' THEN s.config #- '{owsuper,undo}'
            ELSE s.config
        END AS config,
        coalesce(a.context -> 'traceContext', s.context -> 'traceContext') AS trace,
        CASE WHEN a.given THEN a.input ELSE s.input END AS input
    FROM asked AS a
    CROSS JOIN source AS s
    WHERE s.status IN ('completed', 'succeeded', 'failed', 'canceled')
        AND s.workflow_name NOT LIKE 'undo:%'
        AND (
            $3::text IS NULL
            OR (s.context ->> 'undoneBy') IS NULL
                AND EXISTS (SELECT FROM origin)
                AND NOT EXISTS (SELECT FROM undone_step)
        )
),
kept AS MATERIALIZED (
    SELECT a.*, n.id AS run, n.given, gen_random_uuid()::text AS copy
    FROM new AS n
    CROSS JOIN attempt AS a
    WHERE a.began < (SELECT place FROM origin)
        AND (
            a.status IN ('completed', 'succeeded', 'failed')
            OR a.kind IN ('sleep', 'workflow', 'signal-wait')
        )
),
started AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, version, status, config, context, input,
        attempts, available_at, created_at, updated_at
    )
    SELECT
        $1, id, workflow_name, version, 'pending',
        CASE
            WHEN config -> 'owsuper' IS NULL THEN config
            WHEN given THEN config #- '{owsuper,keys}' #- '{owsuper,limited}'
            ELSE config #- '{owsuper,limited}'
        END,
        jsonb_strip_nulls(jsonb_build_object(
            'traceContext', trace, 'rerunOf', source
        )),
        input, CASE WHEN EXISTS (SELECT FROM kept) THEN 1 ELSE 0 END,
        {fragments/due_by_priority}, date_trunc('milliseconds', now()), now()
    FROM new
),
described AS (
    INSERT INTO {schema}.owsuper_run_attributes (
        namespace_id, workflow_run_id, name, value, run_created_at
    )
    SELECT $1, n.id, o.name, o.value, date_trunc('milliseconds', now())
    FROM new AS n
    CROSS JOIN LATERAL (
        SELECT name, value
        FROM {schema}.owsuper_run_attributes
        WHERE namespace_id = $1 AND workflow_run_id >= n.source AND workflow_run_id <= n.source
        ORDER BY workflow_run_id, name
        OFFSET 0
    ) AS o
),
copied AS (
    INSERT INTO {schema}.step_attempts (
        namespace_id, id, workflow_run_id, step_name, kind, status, config, context,
        output, error, child_workflow_run_namespace_id, child_workflow_run_id,
        started_at, finished_at, created_at, updated_at
    )
    SELECT
        $1, copy, run, step_name, kind, status, '{}',
        CASE
            WHEN given AND kind = 'workflow' THEN context - 'child' - 'undo'
            WHEN context @> '{"undo": true}' THEN nullif(context - 'undo', '{}')
            ELSE context
        END,
        output, error, child_workflow_run_namespace_id, child_workflow_run_id,
        started_at, finished_at, created_at, now()
    FROM kept
),
delivered AS (
    INSERT INTO {schema}.workflow_signals (
        namespace_id, id, signal, data, sender_idempotency_key, workflow_run_id, step_attempt_id,
        created_at
    )
    SELECT
        $1, gen_random_uuid()::text, d.signal, d.data, d.sender_idempotency_key, k.run, k.copy,
        d.created_at
    FROM kept AS k
    CROSS JOIN LATERAL (
        SELECT signal, data, sender_idempotency_key, created_at
        FROM {schema}.workflow_signals
        WHERE namespace_id = $1 AND step_attempt_id >= k.id AND step_attempt_id <= k.id
        ORDER BY step_attempt_id
        LIMIT 1
    ) AS d
    WHERE k.kind = 'signal-wait' AND k.status = 'running'
),
adopted AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at,
        parent_step_attempt_namespace_id, parent_step_attempt_id
    )
    SELECT $1, child_workflow_run_id, '', '', '{}', 0, now(), now(), $1, copy
    FROM kept
    WHERE status = 'running' AND child_workflow_run_id IS NOT NULL
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET parent_step_attempt_namespace_id = excluded.parent_step_attempt_namespace_id,
        parent_step_attempt_id = excluded.parent_step_attempt_id,
        updated_at = excluded.updated_at
),
named AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at, context
    )
    SELECT
        $1, source, '', '', '{}', 0, now(), now(),
        CASE WHEN jsonb_typeof(context) = 'object' THEN context ELSE '{}' END
            || jsonb_build_object('rerunAs', id)
    FROM new
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET context = excluded.context, updated_at = excluded.updated_at
)
SELECT
    status, $3::text IS NULL OR EXISTS (SELECT FROM origin),
    coalesce((SELECT json_agg(step_name ORDER BY place) FROM began), '[]')::text,
    workflow_name, version, context ->> 'undoneBy', (SELECT step_name FROM undone_step)
FROM source
