-- Store log lines of runs.
--
-- Called by: children with --keep-logs, ReportStore.store_lines, from a thread of their own.
-- $1 namespace, $2 lines (JSON array, in the order in which they were made).
-- Returns nothing. Lines of runs that do not exist are stored, too, until they are old.
-- The flush to disk is skipped: a crash of the server may lose the last lines.
--
-- Index: none is read. Locks: none.
INSERT INTO {schema}.owsuper_log_lines (
    namespace_id, workflow_run_id, logged_at, level, logger, message, exception, step, attempt,
    host, pid, fields
)
SELECT
    $1, run, to_timestamp(logged_at), level, logger, message, exception, step, attempt, host, pid,
    fields
FROM json_to_recordset($2::json) AS l (
    run text, logged_at double precision, level smallint, logger text, message text,
    exception text, step text, attempt integer, host text, pid integer, fields jsonb
)
WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
