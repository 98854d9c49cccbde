-- Runs that need a look: given up after crashes, without a sign of life, due never or in years.
--
-- Called by: the dashboard, OverviewQueries.attention. $1 namespace, $2 the first time of creation of
-- crashed runs, $3 seconds since the end of a lease, $4 seconds from now that are too far away,
-- $5 how many runs of each kind to read at most.
-- Returns (kind, run, workflow, version, time), at most $5 of each kind. "crashed": the run was given
-- up because it kept killing its process; the time is that of its creation. "lapsed": its lease has
-- ended, and no worker has taken it over; the time is the end of the lease. "never": nothing will
-- make it due. "far": it is due at the time, in longer than $4; not one that waits for a limit,
-- which has a time of its own (migration 0030).
--
-- Of the begun runs whose time has come, 1000 are read at most: most of them are no lapsed leases,
-- but runs that are due and that nobody owns.
--
-- Index: owsuper_post_mortems_given_up_idx, in its order; workflow_runs_pkey;
-- workflow_runs_status_available_at_created_at_idx, in its order. Locks: none. For the form of the
-- conditions see commit.
(
    SELECT 'crashed', r.id, r.workflow_name, r.version, d.run_created_at
    FROM (
        SELECT workflow_run_id, run_created_at
        FROM {schema}.owsuper_post_mortems
        WHERE namespace_id = $1 AND given_up AND run_created_at >= $2::timestamptz
        ORDER BY run_created_at DESC, workflow_run_id DESC
        LIMIT $5::integer
    ) AS d
    CROSS JOIN LATERAL (
        SELECT id, workflow_name, version
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND id >= d.workflow_run_id AND id <= d.workflow_run_id
        ORDER BY id
        LIMIT 1
    ) AS r
)
UNION ALL
(
    SELECT 'lapsed', id, workflow_name, version, available_at
    FROM (
        SELECT id, workflow_name, version, available_at, worker_id
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND status = 'running'
            AND available_at <= now() - $3::double precision * interval '1 second'
        ORDER BY available_at, created_at
        LIMIT 1000
    ) AS begun
    WHERE worker_id IS NOT NULL
    LIMIT $5::integer
)
UNION ALL
(
    SELECT 'never', r.id, r.workflow_name, r.version, r.created_at
    FROM (VALUES ('pending'), ('running'), ('sleeping')) AS s (status)
    CROSS JOIN LATERAL (
        SELECT id, workflow_name, version, created_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND status = s.status AND available_at IS NULL
        ORDER BY available_at, created_at
        LIMIT $5::integer
    ) AS r
    LIMIT $5::integer
)
UNION ALL
(
    SELECT 'far', r.id, r.workflow_name, r.version, r.available_at
    FROM (VALUES ('pending'), ('running'), ('sleeping')) AS s (status)
    CROSS JOIN (
        VALUES
            (
                now() + $4::double precision * interval '1 second',
                timestamptz '9998-12-31 23:59:59.999999+00'
            ),
            (timestamptz '9999-01-01 00:00:00+00', timestamptz 'infinity')
    ) AS t (since, until)
    CROSS JOIN LATERAL (
        SELECT id, workflow_name, version, available_at
        FROM {schema}.workflow_runs
        WHERE namespace_id = $1 AND status = s.status
            AND available_at > t.since AND available_at <= t.until
        ORDER BY available_at, created_at
        LIMIT $5::integer
    ) AS r
    LIMIT $5::integer
)
