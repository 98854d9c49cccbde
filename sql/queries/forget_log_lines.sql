-- Delete log lines that are old.
--
-- Called by: supervisors with --keep-logs, SweepQueries.forget_log_lines, about once a minute, and
-- again at once while there are more. $1 namespace, $2 seconds to keep lines, $3 how many at most.
-- Returns one row: how many lines were deleted.
-- The flush to disk is skipped: what a crash of the server brings back is deleted later.
--
-- Index: owsuper_log_lines_stored_idx, in its order; it reads the lines that it deletes.
-- Locks: those lines; lines that another supervisor deletes are skipped.
WITH old AS MATERIALIZED (
    SELECT ctid AS place
    FROM {schema}.owsuper_log_lines
    WHERE namespace_id = $1 AND stored_at < now() - $2::double precision * interval '1 second'
        AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    ORDER BY namespace_id, stored_at
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM {schema}.owsuper_log_lines
    WHERE ctid = ANY (ARRAY(SELECT place FROM old))
)
SELECT count(*) FROM old
