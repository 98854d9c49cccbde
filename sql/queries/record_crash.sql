-- Release the runs of a process that died, count the crash against them, and fail the runs with
-- too many crashes.
--
-- Called by: the supervisor, CrashQueries.record_crash.
-- $1 namespace, $2 claims with their evidence (JSON array), $3 id of this crash, $4 how many
-- crashes a run may have. "evidence" becomes part of the error of a run that fails, "details" only
-- of the post-mortem.
-- Returns (worker id, run id, crashes so far, whether the run failed) of every claim that was
-- still good. May be repeated: then no claim is good.
--
-- A run fails at its $4-th crash if it was alone in its process at one crash at least: only that
-- proves the cause. If a run is known to be the cause, because it fails here or was alone now, its
-- earlier crashes are no longer counted against the other runs.
--
-- Every run that exists keeps the post-mortem, whatever has become of its claim.
--
-- Index: workflow_runs_pkey, step_attempts_pkey, the primary keys of our own tables. The rows of
-- owsuper_crashes of this namespace are read once; they are few.
-- Locks: the runs, FOR NO KEY UPDATE, in id order; then the parents' step attempts; then parents, as
-- other statements that end runs. Fails if another session holds a lock for longer than 100 ms, so
-- that claims are not delayed; to be repeated. For the form of the conditions see commit, for waking
-- parents commit_related.
WITH asked AS MATERIALIZED (
    SELECT *, count(*) OVER () = 1 AS alone
    FROM json_to_recordset($2::json) AS a (worker text, run text, evidence jsonb, details jsonb)
    WHERE (SELECT set_config('lock_timeout', '100ms', true)) = '100ms'
),
ending AS (
    SELECT run FROM asked
),
{fragments/find_parents},
locked AS MATERIALIZED (
    SELECT r.*
    FROM (SELECT run AS id FROM asked ORDER BY id) AS k
    CROSS JOIN LATERAL (
        SELECT id, status, worker_id, created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= k.id AND id <= k.id
        ORDER BY id
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS r
),
mine AS MATERIALIZED (
    SELECT a.*
    FROM asked AS a
    JOIN locked AS l ON l.id = a.run
    WHERE l.status = 'running' AND l.worker_id = a.worker AND (SELECT count(*) FROM locked) > 0
),
crash AS MATERIALIZED (
    SELECT m.run, c.crash_id, c.alone, c.evidence, c.at
    FROM mine AS m
    JOIN {schema}.owsuper_crashes AS c ON c.namespace_id = $1 AND c.workflow_run_id = m.run
    UNION ALL
    SELECT run, $3, alone, evidence, now() FROM mine
),
verdict AS MATERIALIZED (
    SELECT
        run,
        count(*) AS crashes,
        count(*) >= $4::integer AND bool_or(alone) AS failed,
        string_agg(
            concat(evidence ->> 'cause', ' in step ''' || (evidence ->> 'step') || ''''),
            '; ' ORDER BY at
        ) AS causes,
        jsonb_agg(
            evidence || jsonb_build_object('alone', alone, 'at', at) ORDER BY at
        ) AS evidence,
        coalesce((array_agg(evidence ->> 'error' ORDER BY at DESC))[1], 'ProcessCrashed') AS name
    FROM crash
    GROUP BY run
),
known AS MATERIALIZED (
    -- Runs whose earlier crashes do not count against other runs.
    SELECT m.run
    FROM mine AS m
    JOIN verdict AS v ON v.run = m.run
    WHERE v.failed OR m.alone
),
run_written AS (
    INSERT INTO {schema}.workflow_runs AS r (
        namespace_id, id, workflow_name, config, attempts, created_at, updated_at,
        status, available_at, finished_at, error
    )
    SELECT
        $1, run, '', '{}', 0, now(), now(),
        CASE WHEN failed THEN 'failed' ELSE 'running' END,
        CASE WHEN NOT failed THEN now() END,
        CASE WHEN failed THEN now() END,
        CASE
            WHEN failed THEN jsonb_build_object(
                'name', name,
                'message', format(
                    CASE crashes
                        WHEN 1 THEN 'The process running this run died (%s)'
                        ELSE 'The process running this run died %2$s times (%1$s)'
                    END,
                    causes, crashes
                ),
                'crashes', evidence
            )
            ELSE jsonb_build_object(
                'name', name,
                'message', format(
                    'The process running this run died (%s); it will run again', causes
                )
            )
        END
    FROM verdict
    ON CONFLICT (namespace_id, id) DO UPDATE
    SET status = excluded.status,
        worker_id = NULL,
        available_at = excluded.available_at,
        error = excluded.error,
        started_at = CASE excluded.status WHEN 'running' THEN r.started_at END,
        finished_at = excluded.finished_at,
        updated_at = excluded.updated_at
),
ended AS MATERIALIZED (
    SELECT run FROM verdict WHERE failed
),
{fragments/wake_parents},
crash_recorded AS (
    INSERT INTO {schema}.owsuper_crashes (
        namespace_id, workflow_run_id, crash_id, alone, evidence
    )
    SELECT $1, run, $3, alone, evidence
    FROM mine
    WHERE NOT EXISTS (SELECT FROM ended)
),
post_mortem_kept AS (
    INSERT INTO {schema}.owsuper_post_mortems (
        namespace_id, workflow_run_id, crash_id, run_created_at, counted, given_up, evidence
    )
    SELECT
        $1, a.run, $3, l.created_at, m.run IS NOT NULL, v.failed IS TRUE,
        a.evidence || coalesce(a.details, '{}')
    FROM asked AS a
    JOIN locked AS l ON l.id = a.run
    LEFT JOIN mine AS m ON m.run = a.run
    LEFT JOIN verdict AS v ON v.run = a.run
    ON CONFLICT DO NOTHING
),
crashes_forgotten AS (
    DELETE FROM {schema}.owsuper_crashes
    WHERE namespace_id = $1 AND (
        workflow_run_id IN (SELECT run FROM ended)
        OR (
            crash_id IN (SELECT crash_id FROM crash WHERE run IN (SELECT run FROM known))
            AND workflow_run_id NOT IN (SELECT run FROM known)
        )
    )
),
failures_forgotten AS (
    DELETE FROM {schema}.owsuper_failures
    WHERE namespace_id = $1 AND workflow_run_id = ANY (ARRAY(SELECT run FROM ended))
)
SELECT m.worker, m.run, v.crashes, v.failed
FROM mine AS m
JOIN verdict AS v ON v.run = m.run
