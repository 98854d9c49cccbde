-- Store the limits of the workflows that a worker serves, and forget those that its code has not.
--
-- Called by: the supervisor, LimitQueries.register, once for each code that it loads.
-- $1 namespace, $2 limits (JSON array of objects: name, kind, amount, period, burst, steps of
-- the path, keyed, hold, on_conflict, delay, workflows), $3 names of the workflows that are served (JSON array), $4
-- when the code was loaded.
-- Returns (name of a limit, what became of it): "stored", "changed", "older" if newer code defines it
-- otherwise, "removed" from these workflows. A limit that is as it was has no row.
--
-- What newer code has stored is left alone, so that two deployments do not fight. The newer code may be
-- that of another application that shares a limit, so the workflows of this one have it in any case.
--
-- A limit that steps use stays: they store it themselves (take_turn).
--
-- Index: owsuper_limits_pkey, owsuper_limit_workflows_pkey, owsuper_limit_steps_pkey. Locks: the limits,
-- in the order of their names: who registers newer code at this moment is waited for, and its limits are
-- left alone, too.
WITH asked AS MATERIALIZED (
    SELECT
        a.*,
        CASE WHEN json_typeof(a.steps) = 'array'
            THEN ARRAY(SELECT json_array_elements_text(a.steps)) END AS path
    FROM json_to_recordset($2::json) AS a (
        name text, kind text, amount integer, period double precision, burst integer, steps json,
        keyed boolean, hold text, on_conflict text, delay double precision, workflows json
    )
),
known AS MATERIALIZED (
    SELECT l.*
    FROM {schema}.owsuper_limits AS l
    WHERE l.namespace_id = $1
        AND (
            l.name IN (SELECT name FROM asked)
            OR l.name IN (
                SELECT u.limit_name
                FROM {schema}.owsuper_limit_workflows AS u
                WHERE u.namespace_id = $1
                    AND u.workflow_name IN (SELECT json_array_elements_text($3::json))
            )
        )
    ORDER BY l.name
    FOR UPDATE
),
compared AS MATERIALIZED (
    SELECT
        a.*,
        k.name IS NOT NULL AS is_known,
        coalesce(k.loaded_at > $4::timestamptz, false) AS is_older,
        (a.kind, a.amount, a.period, a.burst, a.path, a.keyed, a.hold, a.on_conflict, a.delay)
            IS DISTINCT FROM
            (k.kind, k.amount, k.period, k.burst, k.path, k.keyed, k.hold, k.on_conflict, k.delay)
            AS differs
    FROM asked AS a
    LEFT JOIN known AS k ON k.name = a.name
),
stored AS (
    INSERT INTO {schema}.owsuper_limits AS l (
        namespace_id, name, kind, amount, period, burst, path, keyed, hold, on_conflict, delay,
        loaded_at
    )
    SELECT
        $1, name, kind, amount, period, burst, path, keyed, hold, on_conflict, delay,
        $4::timestamptz
    FROM compared
    WHERE NOT is_older
    ORDER BY name
    ON CONFLICT (namespace_id, name) DO UPDATE
    SET kind = excluded.kind,
        amount = excluded.amount,
        period = excluded.period,
        burst = excluded.burst,
        path = excluded.path,
        keyed = excluded.keyed,
        hold = excluded.hold,
        on_conflict = excluded.on_conflict,
        delay = excluded.delay,
        loaded_at = excluded.loaded_at
    WHERE l.loaded_at <= excluded.loaded_at
),
used AS (
    INSERT INTO {schema}.owsuper_limit_workflows (namespace_id, workflow_name, limit_name)
    SELECT $1, w.name, c.name
    FROM compared AS c
    CROSS JOIN LATERAL json_array_elements_text(c.workflows) AS w (name)
    ORDER BY w.name, c.name
    ON CONFLICT DO NOTHING
),
unused AS (
    DELETE FROM {schema}.owsuper_limit_workflows AS u
    USING known AS k
    WHERE u.namespace_id = $1 AND u.limit_name = k.name AND k.loaded_at <= $4::timestamptz
        AND u.workflow_name IN (SELECT json_array_elements_text($3::json))
        AND NOT EXISTS (
            SELECT
            FROM asked AS a
            CROSS JOIN LATERAL json_array_elements_text(a.workflows) AS w (name)
            WHERE a.name = u.limit_name AND w.name = u.workflow_name
        )
    RETURNING u.limit_name, u.workflow_name
),
removed AS (
    DELETE FROM {schema}.owsuper_limits AS l
    WHERE l.namespace_id = $1
        AND l.name IN (SELECT limit_name FROM unused)
        AND l.name NOT IN (SELECT name FROM asked)
        AND NOT EXISTS (
            SELECT
            FROM {schema}.owsuper_limit_steps AS s
            WHERE s.namespace_id = $1 AND s.limit_name = l.name
        )
        AND NOT EXISTS (
            SELECT
            FROM {schema}.owsuper_limit_workflows AS u
            WHERE u.namespace_id = $1 AND u.limit_name = l.name
                AND (u.limit_name, u.workflow_name) NOT IN (
                    SELECT limit_name, workflow_name FROM unused
                )
        )
)
SELECT
    name,
    CASE WHEN is_older THEN 'older' WHEN is_known THEN 'changed' ELSE 'stored' END
FROM compared
WHERE differs
UNION ALL
SELECT DISTINCT limit_name, 'removed' FROM unused
