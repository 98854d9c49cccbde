-- CTE "parent": for each run in "ending" that is a child run, the step attempt and the run that
-- wait for it.
--
-- Needs: ending (run). Gives: parent (child, step, run).
-- Index: workflow_runs_pkey, step_attempts_pkey.
parent AS MATERIALIZED (
    SELECT e.run AS child, r.step, s.run
    FROM ending AS e
    CROSS JOIN LATERAL (
        SELECT parent_step_attempt_id AS step
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= e.run AND id <= e.run
        ORDER BY id
        LIMIT 1
    ) AS r
    CROSS JOIN LATERAL (
        SELECT workflow_run_id AS run
        FROM {schema}.step_attempts
        WHERE namespace_id = $1 AND id >= r.step AND id <= r.step
        ORDER BY id
        LIMIT 1
    ) AS s
)
