-- Keep how a process died that executed runs, when its death counts as no crash of theirs.
--
-- Called by: the supervisor, CrashQueries.keep_post_mortems.
-- $1 namespace, $2 runs with their evidence (JSON array), $3 id of this death.
-- Returns one row: how many of the runs exist. May be repeated: then nothing changes.
--
-- Nothing limits how often such a death happens to a run: a step that hangs and is tried again for
-- ever loses its process at each time-out. So of these deaths, a run keeps the last 20.
--
-- Index: workflow_runs_pkey, the primary key of our own table.
-- Locks: the runs, FOR KEY SHARE, which only a deletion disturbs. Fails if one does so for longer
-- than 100 ms, so that claims are not delayed; to be repeated. For the form of the conditions see
-- commit.
WITH asked AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS a (run text, evidence jsonb)
    WHERE (SELECT set_config('lock_timeout', '100ms', true)) = '100ms'
),
known AS MATERIALIZED (
    SELECT a.*, r.created_at
    FROM (SELECT * FROM asked ORDER BY run) AS a
    CROSS JOIN LATERAL (
        SELECT created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= a.run AND id <= a.run
        ORDER BY id
        LIMIT 1
        FOR KEY SHARE
    ) AS r
),
kept AS (
    INSERT INTO {schema}.owsuper_post_mortems (
        namespace_id, workflow_run_id, crash_id, run_created_at, counted, evidence
    )
    SELECT $1, run, $3, created_at, false, evidence FROM known
    ON CONFLICT DO NOTHING
),
forgotten AS (
    DELETE FROM {schema}.owsuper_post_mortems
    WHERE ctid = ANY (ARRAY(
        SELECT o.place
        FROM known AS k
        CROSS JOIN LATERAL (
            SELECT place
            FROM (
                SELECT ctid AS place, crash_id, died_at, counted
                FROM {schema}.owsuper_post_mortems
                WHERE namespace_id = $1 AND workflow_run_id >= k.run AND workflow_run_id <= k.run
                ORDER BY workflow_run_id, crash_id
                OFFSET 0
            ) AS d
            WHERE NOT counted AND crash_id <> $3
            ORDER BY died_at DESC, crash_id
            OFFSET 19
        ) AS o
    ))
)
SELECT count(*) FROM known
