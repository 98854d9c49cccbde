-- Runs that ended long enough ago to be deleted.
--
-- Called by: whoever deletes old runs, PruneQueries.find. $1 namespace, $2 ranges (JSON array of
-- objects: range, workflow, status, seconds to keep, since, skip, until and run), $3 how many runs to
-- look at, $4 how many step attempts these may have together; a long value counts as several.
-- Returns one row, a JSON object. "runs" are those that were looked at, in the order of the ranges and
-- then of creation: number of the range, time of creation, id, whether to delete it, the ids of its
-- predecessors, and the rest of them. "more" says whether there may be others.
--
-- A range is of one workflow and status, from the time "since" on, without the first "skip" runs: those
-- of that very time that were left where they are. It ends at "until", or at the youngest run that can
-- be old enough, as no run has ended before its creation. With "run", it is the run of this id.
--
-- The runs that continued as each other are deleted with the last of them: "predecessors" holds the
-- others, within the bounds $3 and $4. Beyond these is the rest: the workflow, the status, the time of
-- creation and the id of the youngest one, which will be the last. While the last one is there, the
-- others stay.
--
-- Index: workflow_runs_workflow_name_status_created_at_desc_idx, in the order of its end;
-- workflow_runs_pkey, step_attempts_workflow_run_created_at_idx, those of fragments/prune_held.
-- Locks: none.
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset($2::json) AS a (
        range integer, workflow text, status text, keep double precision, since timestamptz,
        skip bigint, until timestamptz, run text
    )
),
near AS MATERIALIZED (
    SELECT a.range, a.keep, row_number() OVER () AS place, r.*
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT
            id, status, created_at, finished_at, updated_at, idempotency_key, context,
            parent_step_attempt_namespace_id, parent_step_attempt_id,
            (coalesce(pg_column_size(input), 0) + coalesce(pg_column_size(output), 0)) / 10000
                AS long
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND workflow_name = a.workflow AND status = a.status
            AND created_at >= a.since AND created_at <= a.until
            AND created_at < now() - a.keep * interval '1 second'
            AND (a.run IS NULL OR id = a.run)
        ORDER BY created_at
        OFFSET a.skip
        LIMIT $3::integer
    ) AS r
    LIMIT $3::integer
),
weighed AS MATERIALIZED (
    SELECT
        r.*, sum(r.long + w.steps) OVER (ORDER BY r.place) AS steps,
        coalesce(r.finished_at, r.updated_at) < now() - r.keep * interval '1 second'
            AND NOT {fragments/prune_held} AS doomed
    FROM near AS r
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(1 + coalesce(pg_column_size(output), 0) / 10000), 0) AS steps
        FROM (
            SELECT output
            FROM {schema}.step_attempts
            WHERE namespace_id = $1 AND workflow_run_id = r.id
            ORDER BY created_at
            LIMIT 2000
        ) AS few
    ) AS w
),
taken AS MATERIALIZED (
    SELECT * FROM weighed WHERE steps <= $4::integer OR place = 1
),
chain AS (
    SELECT
        id AS last, id, NULL::text AS workflow, NULL::text AS status, created_at,
        context ->> 'continuedFrom' AS before, 0::bigint AS steps, 0::bigint AS total, 0 AS length
    FROM taken
    WHERE doomed AND context ->> 'continuedFrom' IS NOT NULL
    UNION ALL
    SELECT
        c.last, r.id, r.workflow_name, r.status, r.created_at,
        r.before, r.long + w.steps, c.total + r.long + w.steps, c.length + 1
    FROM chain AS c
    CROSS JOIN LATERAL (
        SELECT
            id, workflow_name, status, created_at, context ->> 'continuedFrom' AS before,
            (coalesce(pg_column_size(input), 0) + coalesce(pg_column_size(output), 0)) / 10000
                AS long
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= c.before AND id <= c.before
        ORDER BY id
        LIMIT 1
    ) AS r
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(1 + coalesce(pg_column_size(output), 0) / 10000), 0) AS steps
        FROM (
            SELECT output
            FROM {schema}.step_attempts
            WHERE namespace_id = $1 AND workflow_run_id = r.id
            ORDER BY created_at
            LIMIT 2000
        ) AS few
    ) AS w
    WHERE c.total <= $4::integer AND c.length < $3::integer
),
link AS MATERIALIZED (
    SELECT
        *, (SELECT max(steps) FROM taken) + sum(steps) OVER (ORDER BY length, last) AS all_steps,
        lead(id) OVER (PARTITION BY last ORDER BY length) AS next
    FROM (SELECT * FROM chain WHERE length > 0 LIMIT $3::integer) AS few
),
before AS MATERIALIZED (
    SELECT
        last,
        json_agg(id ORDER BY length) FILTER (WHERE goes) AS ids,
        (
            array_agg(json_build_array(workflow, status, created_at, id) ORDER BY length)
            FILTER (WHERE NOT goes)
        )[1] AS rest
    FROM (
        SELECT *, all_steps <= $4::integer AND (next IS NOT NULL OR before IS NULL) AS goes
        FROM link
    ) AS l
    GROUP BY last
)
SELECT json_build_object(
    'runs', coalesce(
        json_agg(
            json_build_array(
                t.range, t.created_at, t.id, t.doomed, coalesce(b.ids, '[]'), b.rest
            )
            ORDER BY t.place
        ),
        '[]'
    ),
    'more', (SELECT count(*) FROM near) >= $3::integer
        OR (SELECT count(*) FROM near) > (SELECT count(*) FROM taken)
)::text
FROM taken AS t
LEFT JOIN before AS b ON b.last = t.id
