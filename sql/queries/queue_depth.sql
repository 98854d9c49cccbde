-- The queues of a namespace: how many runs are due in each, and since when; and how many wait for each
-- limit.
--
-- Called by: QueueStateQueries.depth, for metrics; a supervisor asks every 15 s, on a connection
-- of its own. $1 namespace, $2 the most runs to count in one queue or of one limit, $3 the most queues
-- and limits to look at.
-- Returns one row with two columns. The first is a JSON array of [workflow, due runs, seconds since the
-- oldest of them was due], with one element for each workflow that has a run which nobody has claimed.
-- The second is a JSON array of [limit, runs and steps that wait for it, seconds since the oldest of
-- those that were counted waits], with one element for each limit. Runs that wait for a limit are in no queue.
--
-- A queue has the runs of one workflow and version, new or begun. The recursion jumps from one
-- queue to the next. Runs whose deadline has passed are counted until a sweep has failed them.
--
-- Index: owsuper_runs_queue_idx, in its order; it reads one entry for each queue to find it, and at
-- most $2 to count it. owsuper_limits_pkey; owsuper_waiting_lane_idx and owsuper_turns_limit_idx likewise. Locks: none.
WITH RECURSIVE queue AS (
    (
        SELECT
            1 AS place, workflow_name AS name, coalesce(version, '') AS version,
            status <> 'pending' AS begun
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND worker_id IS NULL AND available_at IS NOT NULL
            AND status IN ('pending', 'running', 'sleeping')
        ORDER BY workflow_name, coalesce(version, ''), (status <> 'pending')
        LIMIT 1
    )
    UNION ALL
    SELECT q.place + 1, r.name, r.version, r.begun
    FROM queue AS q
    CROSS JOIN LATERAL (
        SELECT
            workflow_name AS name, coalesce(version, '') AS version, status <> 'pending' AS begun
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND worker_id IS NULL AND available_at IS NOT NULL
            AND status IN ('pending', 'running', 'sleeping')
            AND (workflow_name, coalesce(version, ''), (status <> 'pending'))
                > (q.name, q.version, q.begun)
        ORDER BY workflow_name, coalesce(version, ''), (status <> 'pending')
        LIMIT 1
    ) AS r
    WHERE q.place < $3::integer
)
SELECT
    (
        SELECT coalesce(json_agg(json_build_array(w.name, w.due, w.age) ORDER BY w.name), '[]')::text
        FROM (
            SELECT
                q.name,
                sum(d.due) AS due,
                coalesce(
                    max(extract(epoch FROM now() - greatest(d.since, now() - interval '10 years')))
                        FILTER (WHERE d.since IS NOT NULL),
                    0
                ) AS age
            FROM queue AS q
            CROSS JOIN LATERAL (
                SELECT count(*) AS due, min(r.due_at) AS since
                FROM (
                    -- A run with a priority has a due time before its creation.
                    SELECT CASE
                        WHEN config -> 'owsuper' ? 'priority' THEN greatest(available_at, created_at)
                        ELSE available_at
                    END AS due_at
                    FROM {schema}.workflow_runs
                    WHERE namespace_id = $1 AND workflow_name = q.name
                        AND coalesce(version, '') = q.version AND (status <> 'pending') = q.begun
                        AND available_at <= now()
                        AND worker_id IS NULL AND status IN ('pending', 'running', 'sleeping')
                    ORDER BY available_at NULLS FIRST
                    LIMIT $2::integer
                ) AS r
            ) AS d
            GROUP BY q.name
        ) AS w
    ),
    (
        SELECT coalesce(json_agg(json_build_array(l.name, w.runs, w.age) ORDER BY l.name), '[]')::text
        FROM (
            SELECT name
            FROM {schema}.owsuper_limits
            WHERE namespace_id = $1
            ORDER BY namespace_id, name
            LIMIT $3::integer
        ) AS l
        CROSS JOIN LATERAL (
            SELECT
                count(*) AS runs,
                coalesce(
                    max(extract(epoch FROM now() - greatest(c.due, now() - interval '10 years'))), 0
                ) AS age
            FROM (
                (
                    SELECT due
                    FROM {schema}.owsuper_waiting
                    WHERE namespace_id = $1 AND limit_name = l.name
                    ORDER BY namespace_id, limit_name, key, workflow_name, version_text, due
                    LIMIT $2::integer
                )
                UNION ALL
                (
                    SELECT since
                    FROM {schema}.owsuper_turns
                    WHERE namespace_id = $1 AND limit_name = l.name
                    ORDER BY namespace_id, limit_name, key, at
                    LIMIT $2::integer
                )
                LIMIT $2::integer
            ) AS c
        ) AS w
    )
