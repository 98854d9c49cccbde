-- The stored log lines of a run, in the order in which they were made.
--
-- Called by: clients, ReportQueries.lines. $1 namespace, $2 run id, $3 the id of the line to begin
-- after (0 for the first), $4 the lowest level, $5 how many at most.
-- A run without such lines gives one row of NULLs; an unknown run gives no row.
--
-- Index: workflow_runs_pkey, owsuper_log_lines_pkey in its order; it reads the lines after that one.
-- Locks: none.
SELECT
    l.id, l.logged_at, l.level, l.logger, l.message, l.exception, l.step, l.attempt, l.host, l.pid,
    l.fields::text
FROM
{fragments/known_run}
LEFT JOIN LATERAL (
    SELECT *
    FROM {schema}.owsuper_log_lines
    WHERE namespace_id = $1 AND workflow_run_id = $2 AND id > $3::bigint AND level >= $4::smallint
    ORDER BY namespace_id, workflow_run_id, id
    LIMIT $5::integer
) AS l ON true
ORDER BY l.id
