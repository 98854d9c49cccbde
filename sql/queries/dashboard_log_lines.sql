-- The newest stored log lines of a run, newest first.
--
-- Called by: the dashboard, RunPageQueries.log_lines. $1 namespace, $2 run id, $3 the id of the line
-- before which to begin, or NULL, $4 the lowest level, $5 how many at most.
-- Of a message and a traceback it returns the beginning.
--
-- Index: owsuper_log_lines_pkey, backward; it reads the lines before that one. Locks: none.
SELECT
    id, logged_at, level, logger, left(message, 4000), left(exception, 16000), step, attempt, host,
    pid, left(fields::text, 4000)
FROM {schema}.owsuper_log_lines
WHERE namespace_id = $1 AND workflow_run_id = $2
    AND id < coalesce($3::bigint, 9223372036854775807) AND level >= $4::smallint
ORDER BY namespace_id DESC, workflow_run_id DESC, id DESC
LIMIT $5::integer
