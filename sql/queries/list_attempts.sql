-- A page of the step attempts of a run, which lists the oldest first.
--
-- Called by: clients, ListQueries.attempts.
-- $1 namespace, $2 run id, $3 and $4 time of creation and id of the attempt next to the page, $5
-- how many attempts at most, $6 whether the page comes before that attempt, not after it.
-- Returns the attempts nearest to that one first: for a page before it, the newest. A run
-- without attempts there gives one row of NULLs; an unknown run gives no row.
--
-- Attempts that a retry of the run has set aside are listed, too; the last column says when.
--
-- All attempts of the run are read, rarely more than a thousand; only those of the page in full.
--
-- Index: workflow_runs_pkey; step_attempts_workflow_run_created_at_idx; the primary key of our own
-- table. Locks: none.
-- For the form of the conditions see commit.
SELECT
    s.id, s.step_name, s.kind, s.status, s.context::text, s.output::text, s.error::text,
    s.child_workflow_run_id, s.created_at, s.started_at, s.finished_at, s.retried_at
FROM
{fragments/known_run}
LEFT JOIN LATERAL (
    SELECT
        *,
        row_number() OVER (
            ORDER BY
                CASE WHEN $6::boolean THEN created_at END DESC,
                CASE WHEN $6::boolean THEN id END DESC,
                created_at, id
        ) AS number
    FROM (
        (
            SELECT
                id, step_name, kind, status, context, output, error, child_workflow_run_id,
                created_at, started_at, finished_at, NULL::timestamptz AS retried_at
            FROM {schema}.step_attempts
            WHERE namespace_id = $1 AND workflow_run_id = $2
            ORDER BY created_at
            OFFSET 0
        )
        UNION ALL
        SELECT
            id, step_name, kind, coalesce(status, 'failed'), context, output, error,
            child_workflow_run_id,
            created_at, started_at, finished_at, retried_at
        FROM {schema}.owsuper_retried_attempts
        WHERE namespace_id = $1 AND workflow_run_id = $2
    ) AS attempts
    WHERE CASE
        WHEN $6::boolean THEN (created_at, id) < ($3::timestamptz, $4::text)
        ELSE (created_at, id) > ($3::timestamptz, $4::text)
    END
) AS s ON s.number <= $5::integer
ORDER BY s.number
