-- Delete a schedule with what is known of its ticks, unless the code of workers declares it.
--
-- Called by: clients, ScheduleStore.delete. $1 namespace, $2 name, $3 seconds after which a declaration
-- that no worker has confirmed does not count.
-- Returns one row: whether there was such a schedule, and the modules that declare it if it stays.
--
-- Index: primary keys. Locks: the schedule, its ticks.
WITH found AS MATERIALIZED (
    SELECT
        name,
        CASE
            WHEN removed_at IS NULL
                AND confirmed_at >= now() - $3::double precision * interval '1 second'
                THEN declared_in
        END AS modules
    FROM {schema}.owsuper_schedules
    WHERE namespace_id = $1 AND name = $2
    FOR UPDATE
),
deleted AS (
    DELETE FROM {schema}.owsuper_schedules
    WHERE namespace_id = $1 AND name = (SELECT name FROM found WHERE modules IS NULL)
)
SELECT EXISTS (SELECT FROM found), (SELECT modules FROM found)
