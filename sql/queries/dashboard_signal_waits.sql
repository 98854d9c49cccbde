-- A page of the steps that wait for a signal, in the order in which they began to wait.
--
-- Called by: the dashboard, WaitLists.page.
-- $1 namespace, $2 and $3 time of creation and id of the step attempt next to the page, $4 how many
-- at most, $5 whether the page has those created after that one, not before it, $6 how many to read
-- at most, $7 workflow name or NULL, $8 signal or NULL.
-- Returns the waits nearest to that one first; for the columns see fragments/dashboard_waits. The last
-- two columns are NULL if all waits on this side were read. Else they are the place up to which
-- (included) they were read.
--
-- The index has no signal and no workflow. So these filters apply to what is read.
--
-- Index: owsuper_signal_waits_idx, in its order; those of fragments/dashboard_waits. Locks: none.
WITH last AS MATERIALIZED (
    (
        SELECT created_at, id
        FROM {schema}.step_attempts
        WHERE $5::boolean AND namespace_id = $1 AND kind = 'signal-wait' AND status = 'running'
            AND (created_at, id) > ($2::timestamptz, $3::text)
        ORDER BY created_at, id
        OFFSET $6::integer - 1
        LIMIT 1
    )
    UNION ALL
    (
        SELECT created_at, id
        FROM {schema}.step_attempts
        WHERE NOT $5::boolean AND namespace_id = $1 AND kind = 'signal-wait' AND status = 'running'
            AND (created_at, id) < ($2::timestamptz, $3::text)
        ORDER BY created_at DESC, id DESC
        OFFSET $6::integer - 1
        LIMIT 1
    )
),
edge AS MATERIALIZED (
    SELECT l.created_at AS at, l.id
    FROM (VALUES (1)) AS one (row)
    LEFT JOIN last AS l ON true
),
found AS MATERIALIZED (
    (
        SELECT
            id, workflow_run_id, step_name, context, created_at,
            coalesce(started_at, created_at) AS began_at
        FROM {schema}.step_attempts
        WHERE $5::boolean AND namespace_id = $1 AND kind = 'signal-wait' AND status = 'running'
            AND (created_at, id) > ($2::timestamptz, $3::text)
            AND ($8::text IS NULL OR (context ->> 'signal') = $8)
            AND (created_at, id) <= (
                SELECT coalesce(at, 'infinity'), coalesce(id, U&'\+10FFFF') FROM edge
            )
        ORDER BY created_at, id
    )
    UNION ALL
    (
        SELECT
            id, workflow_run_id, step_name, context, created_at,
            coalesce(started_at, created_at)
        FROM {schema}.step_attempts
        WHERE NOT $5::boolean AND namespace_id = $1 AND kind = 'signal-wait' AND status = 'running'
            AND (created_at, id) < ($2::timestamptz, $3::text)
            AND ($8::text IS NULL OR (context ->> 'signal') = $8)
            AND (created_at, id) >= (SELECT coalesce(at, '-infinity'), coalesce(id, '') FROM edge)
        ORDER BY created_at DESC, id DESC
    )
),
{fragments/dashboard_waits}
