-- Put a failed run back, due now; its completed steps keep their results. With a step, put a run back
-- that has ended in any way; the steps that began before that step keep their results and failures.
--
-- Called by: clients, ClientQueries.retry, in one transaction with retry_lock.
-- $1 namespace, $2 run id, $3 the step from which to retry, or NULL.
-- Returns the status before, the deadline if it has passed, the id of the run that undoes it, and, if a
-- step was asked for, what else may be in the way (a JSON object):
--   workflow   its name
--   successor  the run as which it has continued
--   steps      the names of its steps, if it has no such step
--   children   runs that steps to set aside have started and that have not ended
--   undone     a step before that one that has been undone after it
--   parent     of a completed run: the run that has its result, or may be taking it
-- If anything is in the way, nothing is changed. No row if there is no such run.
--
-- The run looks as after a failure that is retried automatically: it keeps its error until it
-- completes. The step attempts to set aside move to a table of ours. Failed ones count as used retries
-- of their step in every implementation, and completed ones are recalled. The end of the run is noted
-- beside them. The failures and crashes counted of the run are deleted when it fails, and here once
-- more, because another implementation may have failed it. Signals that these attempts have received
-- are deleted: the data are kept with the attempts.
--
-- Starts of the key of a limit with on_conflict see the run again (see note_conflict).
--
-- Index: workflow_runs_pkey, step_attempts_pkey, workflow_signals_step_attempt_idx, those of
-- fragments/set_aside, the primary keys of our own tables. The attempts are deleted by their place in
-- the table (ctid), which does not change while the run is locked.
-- Locks: the run, its parent, and the child runs that lose their parent are locked already.
-- For the form of the conditions see commit.
WITH asked AS MATERIALIZED (
    SELECT
        id, status, finished_at, error, output, workflow_name, created_at,
        config #> '{owsuper,keys}' AS keys,
        CASE WHEN deadline_at <= now() THEN deadline_at END AS missed,
        context ->> 'undoneBy' AS undone,
        context ->> 'continuedAs' AS successor,
        parent_step_attempt_id AS parent
    FROM {schema}.workflow_runs
    WHERE namespace_id = $1 AND id >= $2 AND id <= $2
    ORDER BY id
    LIMIT 1
),
{fragments/set_aside},
open_child AS MATERIALIZED (
    SELECT a.step_name, a.number, c.id
    FROM attempt AS a
    CROSS JOIN LATERAL (
        SELECT id, status
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= a.child AND id <= a.child
        ORDER BY id
        LIMIT 1
    ) AS c
    WHERE $3::text IS NOT NULL AND a.aside
        AND c.status NOT IN ('completed', 'succeeded', 'failed', 'canceled')
),
undone_step AS MATERIALIZED (
    SELECT k.step_name
    FROM attempt AS k
    WHERE $3::text IS NOT NULL AND k.has_undo AND NOT k.aside
        -- Not as a join, which might compare all attempts with all: the server does not know how many
        -- there are.
        AND ('undo ' || k.step_name IN (SELECT step_name FROM attempt WHERE aside)) IS TRUE
    ORDER BY k.number
    LIMIT 1
),
user_of_result AS MATERIALIZED (
    SELECT p.id, s.step_name
    FROM asked AS r
    CROSS JOIN LATERAL (
        SELECT workflow_run_id, step_name, status
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= r.parent AND id <= r.parent
        ORDER BY id
        LIMIT 1
    ) AS s
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= s.workflow_run_id AND id <= s.workflow_run_id
        ORDER BY id
        LIMIT 1
    ) AS p
    WHERE $3::text IS NOT NULL AND r.status IN ('completed', 'succeeded')
        AND (s.status <> 'running' OR p.status = 'running' AND p.worker_id IS NOT NULL)
),
open AS MATERIALIZED (
    SELECT id, status, finished_at, error, output, workflow_name, created_at, keys
    FROM asked
    WHERE missed IS NULL AND undone IS NULL
        AND CASE
            WHEN $3::text IS NULL THEN status = 'failed'
            ELSE status IN ('completed', 'succeeded', 'failed', 'canceled')
                AND successor IS NULL
                AND workflow_name NOT LIKE 'undo:%'
                AND EXISTS (SELECT FROM attempt WHERE step_name = $3::text)
                AND NOT EXISTS (SELECT FROM open_child)
                AND NOT EXISTS (SELECT FROM undone_step)
                AND NOT EXISTS (SELECT FROM user_of_result)
        END
),
steps_removed AS (
    DELETE FROM {schema}.step_attempts
    WHERE ctid = ANY (ARRAY(SELECT place FROM attempt WHERE aside AND EXISTS (SELECT FROM open)))
    RETURNING *
),
signals_removed AS (
    DELETE FROM {schema}.workflow_signals
    WHERE ctid = ANY (ARRAY(
        SELECT d.place
        FROM attempt AS a
        CROSS JOIN LATERAL (
            SELECT ctid AS place
            FROM {schema}.workflow_signals
            WHERE namespace_id = $1 AND step_attempt_id >= a.id AND step_attempt_id <= a.id
            ORDER BY step_attempt_id
            LIMIT 1
        ) AS d
        WHERE a.aside AND a.kind = 'signal-wait' AND EXISTS (SELECT FROM open)
    ))
    RETURNING step_attempt_id, data
),
steps_kept AS (
    INSERT INTO {schema}.owsuper_retried_attempts (
        namespace_id, workflow_run_id, id, step_name, kind, status, context, output, error,
        child_workflow_run_namespace_id, child_workflow_run_id, started_at, finished_at, created_at
    )
    SELECT
        s.namespace_id, s.workflow_run_id, s.id, s.step_name, s.kind, s.status, s.context,
        CASE
            WHEN s.output IS NULL AND d.step_attempt_id IS NOT NULL
                THEN jsonb_build_object('data', d.data)
            ELSE s.output
        END,
        s.error, s.child_workflow_run_namespace_id, s.child_workflow_run_id, s.started_at,
        s.finished_at, s.created_at
    FROM steps_removed AS s
    LEFT JOIN signals_removed AS d ON d.step_attempt_id = s.id
),
retry_noted AS (
    INSERT INTO {schema}.owsuper_retries (
        namespace_id, workflow_run_id, failed_at, error, status, from_step, output
    )
    SELECT $1, id, finished_at, error, status, $3::text, output FROM open
),
run_written AS (
    INSERT INTO {schema}.workflow_runs (
        namespace_id, id, workflow_name, status, config, attempts, created_at, updated_at
    )
    SELECT $1, id, '', 'pending', '{}', 0, now(), now() FROM open
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        worker_id = NULL,
        output = NULL,
        available_at = now(),
        started_at = NULL,
        finished_at = NULL,
        updated_at = now()
),
given_up_no_longer AS (
    UPDATE {schema}.owsuper_post_mortems
    SET given_up = false
    WHERE namespace_id = $1 AND workflow_run_id >= $2 AND workflow_run_id <= $2
        AND EXISTS (SELECT FROM open)
),
failures_forgotten AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id IN (SELECT id FROM open)
),
crashes_forgotten AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND workflow_run_id IN (SELECT id FROM open)
),
conflicts_noted AS (
    INSERT INTO {schema}.owsuper_conflicts (
        namespace_id, limit_name, key, workflow_run_id, created_at
    )
    SELECT $1, l.name, coalesce(o.keys ->> l.name, ''), o.id, o.created_at
    FROM open AS o
    JOIN {schema}.owsuper_limit_workflows AS u
        ON u.namespace_id = $1 AND u.workflow_name = o.workflow_name
    JOIN {schema}.owsuper_limits AS l ON l.namespace_id = $1 AND l.name = u.limit_name
    WHERE l.on_conflict <> 'queue' AND o.keys IS NOT NULL
        AND (o.keys ? l.name OR NOT l.keyed)
    ON CONFLICT DO NOTHING
)
SELECT
    status, missed, undone,
    CASE
        WHEN $3::text IS NOT NULL THEN json_build_object(
            'workflow', workflow_name,
            'successor', successor,
            'steps', CASE
                WHEN NOT EXISTS (SELECT FROM attempt WHERE step_name = $3::text) THEN coalesce(
                    (
                        SELECT json_agg(step_name ORDER BY began)
                        FROM (
                            SELECT step_name, min(number) AS began FROM attempt GROUP BY step_name
                        ) AS s
                    ),
                    '[]'
                )
            END,
            'children', (
                SELECT coalesce(json_agg(json_build_array(step_name, id) ORDER BY number), '[]')
                FROM open_child
            ),
            'undone', (SELECT step_name FROM undone_step),
            'parent', (SELECT json_build_array(id, step_name) FROM user_of_result)
        )::text
    END
FROM asked
